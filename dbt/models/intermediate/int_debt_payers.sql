{{ config(materialized=kept_as(), mends_by=['int_restated_debts', 'debt_key']) }}
with efforts as (
    select
        k.account_id,
        k.debt_id,
        max(a.charge_id) as own_charge_id
    from {{ ref('int_attempts') }} as a
    inner join {{ ref('int_cases') }} as k on a.case_id = k.case_id
    where a.state = 'succeeded'
    group by k.account_id, k.debt_id
),

debts as (
    select
        f.account_id,
        f.debt_id,
        f.paid_elsewhere_charge_id,
        f.paid_charge_id,
        e.own_charge_id,
        {{ key('f.account_id', 'f.debt_id') }} as debt_key,
        {{ key('f.account_id', 'f.payment_intent_id') }} as intent_key,
        {{ key('f.account_id', 'f.paid_elsewhere_by') }} as elsewhere_key,
        {{ key('f.account_id', 'f.paid_charge_id') }} as paid_charge_key,
        {{ key('f.account_id', 'f.paid_elsewhere_charge_id') }} as elsewhere_charge_key,
        f.status in ('paid', 'refunded') or e.debt_id is not null as is_paid_itself
    from {{ ref('int_failed_payments') }} as f
    left join efforts as e on f.account_id = e.account_id and f.debt_id = e.debt_id
),

paid as (
    select
        *,
        not is_paid_itself and elsewhere_key is not null as is_paid_elsewhere,
        case
            when is_paid_itself then coalesce(paid_charge_id, own_charge_id)
            when elsewhere_key is not null then paid_elsewhere_charge_id
        end as payment_charge_id
    from debts
),

charged as (
    select
        *,
        {{ key('account_id', 'payment_charge_id') }} as payment_key
    from paid
)

select
    account_id,
    debt_id,
    debt_key,
    intent_key,
    elsewhere_key,
    paid_charge_key,
    elsewhere_charge_key,
    is_paid_itself or is_paid_elsewhere as is_paid,
    is_paid_elsewhere,
    payment_charge_id,
    payment_key,
    case
        when is_paid_itself then coalesce(payment_key, debt_key)
        when is_paid_elsewhere then coalesce(payment_key, elsewhere_key)
    end as payer_key
from charged
