-- depends_on: {{ ref('int_restated_debts') }} {{ ref('int_charges') }}
-- Only of charges that pay a failed debt.
with wanted as (
    select distinct payment_key
    from {{ ref('int_debt_payers') }}
    where
        payment_key is not null
        {% if mends() %}and debt_key in (select r.debt_key from {{ ref('int_restated_debts') }} as r){% endif %}
),

refunds as (
    select
        charge_key,
        {{ total('amount_minor') }} as refunded_minor,
        max(created_at) as refunded_at
    from {{ ref('int_refunds') }}
    where status = 'succeeded' and charge_key in (select w.payment_key from wanted as w)
    group by charge_key
),

disputes as (
    select
        charge_key,
        {{ total('amount_minor', "status in ('needs_response', 'under_review', 'lost', 'charge_refunded')") }}
            as disputed_minor,
        max(created_at) filter (where status in ('needs_response', 'under_review', 'lost', 'charge_refunded'))
            as disputed_at
    from {{ ref('int_disputes') }}
    where charge_key in (select w.payment_key from wanted as w)
    group by charge_key
),

charges as (
    select * from {{ ref('int_debt_charges') }}
    where charge_key in (select w.payment_key from wanted as w)
    {%- if mends() %}
    union all
    -- Hardly ever any, and for none nothing is looked through: the charge of a payment belongs to its debt, or is a debt of its own.
    select * from {{ ref('int_charges') }}
    where charge_key in (
        select w.payment_key from wanted as w
        where w.payment_key not in (select d.charge_key from {{ ref('int_debt_charges') }} as d)
    )
    {%- endif %}
)

select
    c.charge_key,
    c.created_at as paid_at,
    coalesce(nullif(c.captured_minor, 0), c.amount_minor) as paid_minor,
    cast(greatest(c.refunded_minor, coalesce(r.refunded_minor, 0)) as bigint) as refunded_minor,
    cast(case
        when d.charge_key is not null then d.disputed_minor
        when c.is_disputed then c.amount_minor
        else 0
    end as bigint) as disputed_minor,
    greatest(r.refunded_at, d.disputed_at) as reversed_at
from charges as c
left join refunds as r on c.charge_key = r.charge_key
left join disputes as d on c.charge_key = d.charge_key
where c.status = 'succeeded'
