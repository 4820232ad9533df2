{{ config(materialized='view') }}
-- An intent belongs to the invoice of its payment, a charge without one to the invoice it paid, and an intent that took
-- the place of another to the same debt: in this order.
select
    {{ key('account_id', 'payment_intent_id') }} as linked_key,
    1 as place,
    account_id,
    invoice_id as debt_id,
    file
from {{ ref('stg_invoice_payments') }}
where payment_intent_id is not null
union all
select
    {{ key('account_id', 'charge_id') }} as linked_key,
    2 as place,
    account_id,
    invoice_id as debt_id,
    file
from {{ ref('stg_invoice_payments') }}
where charge_id is not null
union all
select
    {{ key('account_id', 'payment_intent_id') }} as linked_key,
    3 as place,
    account_id,
    stands_for_debt_id as debt_id,
    file
from {{ ref('stg_payment_intents') }}
where stands_for_debt_id is not null
