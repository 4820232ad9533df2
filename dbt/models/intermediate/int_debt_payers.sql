{{ config(materialized=kept_as(), mends_by=['int_touched_debts', 'account_id', 'debt_id']) }}
{%- set touched = ref('int_touched_debts') -%}
-- depends_on: {{ ref('int_touched_payers') }}
with efforts as (
    select
        k.account_id,
        k.debt_id,
        max(a.charge_id) as own_charge_id
    from {{ ref('stg_attempts') }} as a
    inner join {{ ref('stg_cases') }} as k on a.case_id = k.case_id
    where a.state = 'succeeded'
    {{ if_restated('k.account_id', 'k.debt_id', touched, 'and') }}
    group by k.account_id, k.debt_id
),

debts as (
    select
        f.account_id,
        f.debt_id,
        f.paid_elsewhere_by,
        f.paid_charge_id,
        e.own_charge_id,
        {{ key('f.account_id', 'f.paid_elsewhere_by') }} as elsewhere_key,
        f.status in ('paid', 'refunded') or e.debt_id is not null as is_paid_itself
    from {{ ref('stg_failed_payments') }} as f
    left join efforts as e on f.account_id = e.account_id and f.debt_id = e.debt_id
    {{ if_restated('f.account_id', 'f.debt_id', touched) }}
),

wanted as (
    select distinct elsewhere_key
    from debts
    where not is_paid_itself and elsewhere_key is not null
),

payments as (
    -- By intent or by charge: one key, since a join on either of two would compare every debt with every charge.
    select intent_key as elsewhere_key, charge_id, created_at
    from {{ ref('int_charges') }}
    where status = 'succeeded' and intent_key in (select w.elsewhere_key from wanted as w)
    union all
    select charge_key as elsewhere_key, charge_id, created_at
    from {{ ref('int_charges') }}
    where status = 'succeeded' and charge_key in (select w.elsewhere_key from wanted as w)
),

elsewhere as (
    select
        elsewhere_key,
        min_by(charge_id, (created_at, charge_id)) as charge_id
    from payments
    group by elsewhere_key
),

paid as (
    select
        d.*,
        not d.is_paid_itself as is_paid_elsewhere,
        case when d.is_paid_itself then coalesce(d.paid_charge_id, d.own_charge_id) else e.charge_id end
            as payment_charge_id
    from debts as d
    left join elsewhere as e on d.elsewhere_key = e.elsewhere_key and not d.is_paid_itself
    where d.is_paid_itself or d.paid_elsewhere_by is not null
)

select
    account_id,
    debt_id,
    is_paid_elsewhere,
    payment_charge_id,
    {{ key('account_id', 'payment_charge_id') }} as payment_key,
    coalesce(
        {{ key('account_id', 'payment_charge_id') }},
        case when is_paid_elsewhere then elsewhere_key end,
        {{ key('account_id', 'debt_id') }}
    ) as payer_key
from paid
