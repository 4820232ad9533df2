with parts as (
    select
        account_id,
        livemode,
        currency,
        0 as executed,
        0 as declined,
        0 as mailed,
        is_recovered::integer as recovered,
        recovered_amount_minor,
        reversed_amount_minor,
        (disputed_amount_minor > 0)::integer as disputes,
        disputed_amount_minor
    from {{ ref('recovery_debts') }}

    union all

    select
        account_id, livemode, currency, is_executed::integer, (is_executed and not is_succeeded)::integer,
        0, 0, 0, 0, 0, 0
    from {{ ref('attempts') }}

    union all

    select account_id, livemode, currency, 0, 0, (is_sent and kind = 'dunning')::integer, 0, 0, 0, 0, 0
    from {{ ref('messages') }}
)

select
    account_id,
    livemode,
    currency,
    {{ total('recovered') }} as recovered_count,
    {{ total('recovered_amount_minor') }} as recovered_amount_minor,
    {{ total('executed') }} as executed_attempts,
    {{ total('declined') }} as declined_attempts,
    {{ total('mailed') }} as messages_sent,
    (executed_attempts * {{ var('network_fee_per_attempt_minor') }})::bigint as network_fee_minor,
    {{ total('disputes') }} as disputes_after_recovery_count,
    {{ total('disputed_amount_minor') }} as disputes_after_recovery_amount_minor,
    {{ total('reversed_amount_minor') }} as reversed_amount_minor,
    {{ rate('executed_attempts', 'recovered_count') }} as attempts_per_recovery,
    {{ rate('messages_sent', 'recovered_count') }} as messages_per_recovery,
    {{ rate('network_fee_minor', 'recovered_count') }} as network_fee_per_recovery_minor
from parts
group by account_id, livemode, currency
