-- depends_on: {{ ref('int_restated_debts') }}
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
from ({{ part_of(ref('int_charges'), 's.charge_key in (select w.payment_key from wanted as w)') }}) as c
left join refunds as r on c.charge_key = r.charge_key
left join disputes as d on c.charge_key = d.charge_key
where c.status = 'succeeded' and c.charge_key in (select w.payment_key from wanted as w)
