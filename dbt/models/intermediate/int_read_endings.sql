{{ config(materialized='view') }}
select
    account_id,
    invoice_id as debt_id,
    case when voided_at is not null or status = 'void' then 'void' else 'uncollectible' end as status,
    coalesce(voided_at, marked_uncollectible_at) as ended_at,
    file
from {{ ref('stg_invoices') }}
where voided_at is not null or marked_uncollectible_at is not null
union all
select
    account_id,
    payment_intent_id as debt_id,
    'canceled' as status,
    canceled_at as ended_at,
    file
from {{ ref('stg_payment_intents') }}
where canceled_at is not null
