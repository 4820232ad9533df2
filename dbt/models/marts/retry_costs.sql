{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
with parts as (
    select
        account_id,
        livemode,
        currency,
        cohort_month,
        {{ metric('recovered_count') }} as recovered_count,
        {{ metric('recovered_amount_minor') }} as recovered_amount_minor,
        {{ metric('reversed_amount_minor') }} as reversed_amount_minor,
        {{ metric('disputed_count') }} as disputed_count,
        {{ metric('disputed_amount_minor') }} as disputed_amount_minor,
        0 as executed_count,
        0 as succeeded_count,
        0 as sent_count
    from {{ ref('fct_failed_payments') }}
    where {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month

    union all

    select
        account_id,
        livemode,
        currency,
        cohort_month,
        0,
        0,
        0,
        0,
        0,
        {{ metric('executed_count') }},
        {{ metric('succeeded_count') }},
        0
    from {{ ref('fct_attempts') }}
    where {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month

    union all

    select
        account_id,
        livemode,
        currency,
        cohort_month,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        {{ metric('sent_count') }}
    from {{ ref('fct_messages') }}
    where currency is not null and {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month
),

sums as (
    select
        account_id,
        livemode,
        currency,
        cohort_month,
        {{ total('recovered_count') }} as recovered_count,
        {{ total('recovered_amount_minor') }} as recovered_amount_minor,
        {{ total('executed_count') }} as executed_count,
        {{ total('succeeded_count') }} as succeeded_count,
        {{ total('sent_count') }} as sent_count,
        {{ total('disputed_count') }} as disputed_count,
        {{ total('disputed_amount_minor') }} as disputed_amount_minor,
        {{ total('reversed_amount_minor') }} as reversed_amount_minor
    from parts
    group by account_id, livemode, currency, cohort_month
)

select
    account_id,
    livemode,
    currency,
    cohort_month,
    recovered_count,
    recovered_amount_minor,
    executed_count as executed_attempts,
    executed_count - succeeded_count as declined_attempts,
    sent_count as messages_sent,
    cast(executed_count * {{ var('network_fee_per_attempt_minor') }} as bigint) as network_fee_minor,
    cast(sent_count * {{ var('mail_cost_minor') }} as bigint) as mail_cost_minor,
    disputed_count as disputes_after_recovery_count,
    disputed_amount_minor as disputes_after_recovery_amount_minor,
    reversed_amount_minor,
    {{ rate('executed_count', 'recovered_count') }} as attempts_per_recovery,
    {{ rate('sent_count', 'recovered_count') }} as messages_per_recovery,
    {{ rate('executed_count * ' ~ var('network_fee_per_attempt_minor') ~ ' + sent_count * ' ~ var('mail_cost_minor'), 'recovered_amount_minor') }}
        as cost_per_recovered_unit
from sums
