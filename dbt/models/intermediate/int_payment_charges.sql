{%- set payers, restated = ref('int_debt_payers'), ref('int_restated_debts') -%}
-- Only of charges that pay a failed debt.
with wanted as (
    select distinct payment_key
    from {{ payers }}
    {{ if_restated('account_id', 'debt_id', restated) }}
),

refunds as (
    select
        {{ key('account_id', 'charge_id') }} as charge_key,
        {{ total('amount_minor') }} as refunded_minor,
        max(created_at) as refunded_at
    from {{ ref('int_refunds') }}
    where status = 'succeeded'
    group by {{ key('account_id', 'charge_id') }}
),

disputes as (
    select
        {{ key('account_id', 'charge_id') }} as charge_key,
        {{ total('amount_minor', "status in ('needs_response', 'under_review', 'lost', 'charge_refunded')") }}
            as disputed_minor,
        max(created_at) filter (where status in ('needs_response', 'under_review', 'lost', 'charge_refunded'))
            as disputed_at
    from {{ ref('int_disputes') }}
    group by {{ key('account_id', 'charge_id') }}
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
