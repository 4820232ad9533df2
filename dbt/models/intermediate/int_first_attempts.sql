with invoice_of_intent as (
    select
        account_id,
        payment_intent_id,
        min(invoice_id) as invoice_id
    from {{ ref('stg_invoice_payments') }}
    where payment_intent_id is not null
    group by account_id, payment_intent_id
),

invoice_of_charge as (
    select
        account_id,
        charge_id,
        min(invoice_id) as invoice_id
    from {{ ref('stg_invoice_payments') }}
    where charge_id is not null
    group by account_id, charge_id
),

successors as (
    -- An intent that took the place of another is the same debt.
    select
        account_id,
        payment_intent_id,
        stands_for_debt_id
    from {{ ref('stg_payment_intents') }}
    where stands_for_debt_id is not null
),

charged as (
    select
        c.account_id,
        c.livemode,
        c.currency,
        c.charge_id,
        c.amount_minor,
        c.created_at,
        coalesce(i.invoice_id, j.invoice_id, s.stands_for_debt_id, c.payment_intent_id, c.charge_id) as debt_id
    from {{ ref('stg_charges') }} as c
    left join invoice_of_intent as i on c.account_id = i.account_id and c.payment_intent_id = i.payment_intent_id
    left join invoice_of_charge as j on c.account_id = j.account_id and c.charge_id = j.charge_id
    left join successors as s on c.account_id = s.account_id and c.payment_intent_id = s.payment_intent_id
    where c.status <> 'failed'
),

passed as (
    -- The earliest of each debt that has no failed first charge; most have one charge only.
    select
        d.account_id,
        d.debt_id,
        min_by(d.livemode, d.created_at) as livemode,
        min_by(d.currency, d.created_at) as currency,
        min_by(d.amount_minor, d.created_at) as amount_minor,
        min(d.created_at) as first_at
    from charged as d
    left join {{ ref('stg_failed_payments') }} as f on d.account_id = f.account_id and d.debt_id = f.debt_id
    where f.debt_id is null
    group by d.account_id, d.debt_id
),

firsts as (
    select
        account_id,
        livemode,
        currency,
        amount_minor,
        first_at,
        false as is_failed
    from passed
    union all
    select
        account_id,
        livemode,
        currency,
        amount_minor,
        first_failed_at as first_at,
        true as is_failed
    from {{ ref('stg_failed_payments') }}
)

select
    account_id,
    livemode,
    currency,
    cast(first_at as date) as {{ adapter.quote('day') }},
    count(*) as first_attempt_count,
    {{ total('amount_minor') }} as first_attempt_amount_minor,
    count(*) filter (where is_failed) as failed_first_attempt_count,
    {{ total('amount_minor', 'is_failed') }} as failed_first_attempt_amount_minor
from firsts
group by account_id, livemode, currency, cast(first_at as date)
