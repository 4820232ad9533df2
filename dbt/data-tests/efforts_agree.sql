-- Attempts and mails are neither lost nor multiplied on their way from the ledger to the tables.
with figures as (
    select
        (select count(*) from {{ ref('stg_attempts') }}) as staged_attempts,
        (select count(*) from {{ ref('attempts') }}) as attempts,
        (select count(*) from {{ ref('stg_attempts') }} where is_executed) as staged_executed,
        (select coalesce(sum(executed_count), 0) from {{ ref('recovery_by_attempt') }}) as executed,
        (select coalesce(sum(executed_attempts), 0) from {{ ref('recovery_cost') }}) as paid_for,
        (select count(*) from {{ ref('stg_messages') }}) as staged_messages,
        (select count(*) from {{ ref('messages') }}) as messages
)

select * from figures
where staged_attempts <> attempts or staged_executed <> executed or staged_executed <> paid_for
    or staged_messages <> messages
