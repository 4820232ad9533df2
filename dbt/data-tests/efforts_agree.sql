-- Attempts and mails are neither lost nor multiplied on their way from the ledger to the tables.
with figures as (
    select
        (select count(*) from {{ ref('stg_attempts') }}) as staged_attempts,
        (select count(*) from {{ ref('fct_attempts') }}) as attempts,
        (select count(*) filter (where is_executed and not is_by_link) from {{ ref('stg_attempts') }}) as staged_executed,
        (select coalesce(sum(executed_count), 0) from {{ ref('recovery_by_attempt_number') }}) as executed,
        (select coalesce(sum(executed_attempts), 0) from {{ ref('retry_costs') }}) as paid_for,
        (select count(*) filter (where is_executed and not is_by_link and called_at is not null) from {{ ref('stg_attempts') }})
            as staged_called,
        (select coalesce(sum(executed_count), 0) from {{ ref('model_performance') }}) as predicted,
        (select coalesce(sum(executed_attempts), 0) from {{ ref('recovery_daily') }}) as of_days,
        (select count(*) from {{ ref('stg_messages') }}) as staged_messages,
        (select count(*) from {{ ref('fct_messages') }}) as messages,
        (select count(*) filter (where state = 'sent' and kind = 'dunning') from {{ ref('stg_messages') }}) as staged_sent,
        (select coalesce(sum(sent_count), 0) from {{ ref('recovery_by_message_step') }}) as sent,
        (select coalesce(sum(messages_sent), 0) from {{ ref('recovery_daily') }}) as sent_of_days
)

select *
from figures
where
    staged_attempts <> attempts or staged_executed <> executed or staged_executed <> paid_for
    or staged_called <> predicted or staged_called <> of_days
    or staged_messages <> messages or staged_sent <> sent or staged_sent <> sent_of_days
