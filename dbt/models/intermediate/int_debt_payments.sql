-- depends_on: {{ ref('int_restated_debts') }}
with payers as (
    {{ part_of(ref('int_debt_payers'), 's.debt_key in (select r.debt_key from ' ~ ref('int_restated_debts') ~ ' as r)') }}
),

debts as (
    select
        f.*,
        y.is_paid_elsewhere,
        y.payment_charge_id,
        y.payment_key,
        y.payer_key
    from {{ ref('int_failed_payments') }} as f
    inner join payers as y on {{ key('f.account_id', 'f.debt_id') }} = y.debt_key
    where y.is_paid
),

priced as (
    select
        d.account_id,
        d.debt_id,
        e.case_id,
        d.invoice_id,
        d.is_paid_elsewhere,
        coalesce(e.has_own_success, false) as has_own_success,
        coalesce(e.has_link_success, false) as has_link_success,
        d.payment_charge_id,
        case
            when d.is_paid_elsewhere then coalesce(c.paid_at, e.closed_at, d.last_failed_at)
            else coalesce(d.paid_at, c.paid_at, e.own_success_at, d.last_failed_at)
        end as paid_at,
        least(coalesce(c.paid_minor, d.amount_minor), d.amount_minor) as paid_minor,
        greatest(
            coalesce(c.refunded_minor, 0),
            case when d.is_paid_elsewhere then 0 else d.refunded_minor end,
            case when d.status = 'refunded' and c.charge_key is null then d.amount_minor else 0 end
        ) as refunded_minor,
        coalesce(
            c.disputed_minor,
            case when d.is_disputed and not d.is_paid_elsewhere and c.charge_key is null then d.amount_minor else 0 end
        ) as disputed_minor,
        c.reversed_at,
        row_number() over (
            partition by d.payer_key order by d.is_paid_elsewhere, d.first_failed_at, d.account_id, d.debt_id
        ) = 1 as is_counted
    from debts as d
    left join {{ ref('int_case_efforts') }} as e on d.account_id = e.account_id and d.debt_id = e.debt_id
    left join {{ ref('int_payment_charges') }} as c on d.payment_key = c.charge_key
)

select
    *,
    cast(case
        when is_counted then greatest(paid_minor - refunded_minor - disputed_minor, 0)
        else 0
    end as bigint) as kept_minor
from priced
