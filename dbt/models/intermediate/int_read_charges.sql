{{ config(materialized='view') }}
select
    {{ key('account_id', 'charge_id') }} as charge_key,
    {{ key('account_id', 'payment_intent_id') }} as intent_key,
    account_id,
    livemode,
    currency,
    amount_minor,
    captured_minor,
    refunded_minor,
    status,
    is_captured,
    is_disputed,
    created_at,
    {{ day_of('created_at') }} as created_on,
    file
from {{ ref('stg_charges') }}
