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
        f.paid_elsewhere_charge_id,
        f.paid_charge_id,
        e.own_charge_id,
        {{ key('f.account_id', 'f.paid_elsewhere_by') }} as elsewhere_key,
        f.status in ('paid', 'refunded') or e.debt_id is not null as is_paid_itself
    from {{ ref('stg_failed_payments') }} as f
    left join efforts as e on f.account_id = e.account_id and f.debt_id = e.debt_id
    {{ if_restated('f.account_id', 'f.debt_id', touched) }}
),

paid as (
    select
        *,
        not is_paid_itself as is_paid_elsewhere,
        case when is_paid_itself then coalesce(paid_charge_id, own_charge_id) else paid_elsewhere_charge_id end
            as payment_charge_id
    from debts
    where is_paid_itself or paid_elsewhere_by is not null
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
