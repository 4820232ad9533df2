with invoice_of_intent as (
    select account_id, payment_intent_id, min(invoice_id) as invoice_id
    from {{ ref('stg_invoice_payments') }}
    where payment_intent_id is not null
    group by account_id, payment_intent_id
),

invoice_of_charge as (
    select account_id, charge_id, min(invoice_id) as invoice_id
    from {{ ref('stg_invoice_payments') }}
    where charge_id is not null
    group by account_id, charge_id
),

charged as (
    select
        c.account_id,
        coalesce(i.invoice_id, j.invoice_id, c.payment_intent_id, c.charge_id) as debt_id,
        arg_min(c, (c.created_at, c.charge_id)) as first_charge
    from {{ ref('stg_charges') }} as c
    left join invoice_of_intent as i
        on i.account_id = c.account_id and i.payment_intent_id = c.payment_intent_id
    left join invoice_of_charge as j on j.account_id = c.account_id and j.charge_id = c.charge_id
    group by 1, 2
),

first_attempts as (
    select
        c.account_id,
        c.first_charge.livemode as livemode,
        c.first_charge.currency as currency,
        c.first_charge.created_at as first_at,
        c.first_charge.amount_minor as amount_minor,
        false as is_failed
    from charged as c
    anti join {{ ref('stg_failed_payments') }} as f on f.account_id = c.account_id and f.debt_id = c.debt_id
    where c.first_charge.status <> 'failed'

    union all

    select account_id, livemode, currency, first_failed_at, amount_minor, true
    from {{ ref('stg_failed_payments') }}
)

select
    account_id,
    livemode,
    currency,
    first_at::date as day,
    count(*) as first_attempt_count,
    count(*) filter (where is_failed) as failed_first_attempt_count,
    {{ rate('failed_first_attempt_count', 'first_attempt_count') }} as failure_rate_count,
    {{ total('amount_minor') }} as first_attempt_amount_minor,
    {{ total('amount_minor', 'is_failed') }} as failed_first_attempt_amount_minor,
    {{ rate('failed_first_attempt_amount_minor', 'first_attempt_amount_minor') }} as failure_rate_amount
from first_attempts
group by account_id, livemode, currency, first_at::date
