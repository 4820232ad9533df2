with debts as (
    select
        f.*,
        e.case_id,
        e.closed_at as case_closed_at,
        e.own_success_at,
        e.own_charge_id,
        coalesce(e.has_own_success, false) as has_own_success,
        coalesce(e.has_link_success, false) as has_link_success,
        f.status in ('paid', 'refunded') or coalesce(e.has_own_success or e.has_link_success, false) as is_paid_itself
    from {{ ref('stg_failed_payments') }} as f
    left join {{ ref('int_case_efforts') }} as e on e.account_id = f.account_id and e.debt_id = f.debt_id
),

payments as (
    -- By intent or by charge: one key, since a join on either of two would compare every debt with every charge.
    select account_id, payment_intent_id as paid_by, charge_id, created_at
    from {{ ref('stg_charges') }}
    where status = 'succeeded' and payment_intent_id is not null
    union all
    select account_id, charge_id, charge_id, created_at
    from {{ ref('stg_charges') }}
    where status = 'succeeded'
),

elsewhere as (
    select
        d.account_id,
        d.debt_id,
        arg_min(p.charge_id, p.created_at) as charge_id
    from debts as d
    inner join payments as p on p.account_id = d.account_id and p.paid_by = d.paid_elsewhere_by
    where not d.is_paid_itself
    group by d.account_id, d.debt_id
),

paid as (
    select
        d.*,
        not d.is_paid_itself as is_paid_elsewhere,
        case when d.is_paid_itself then coalesce(d.paid_charge_id, d.own_charge_id) else e.charge_id end
            as payment_charge_id
    from debts as d
    left join elsewhere as e on e.account_id = d.account_id and e.debt_id = d.debt_id
    where d.is_paid_itself or d.paid_elsewhere_by is not null
),

priced as (
    select
        p.account_id,
        p.debt_id,
        p.case_id,
        p.invoice_id,
        p.is_paid_elsewhere,
        p.has_own_success,
        p.has_link_success,
        p.payment_charge_id,
        case
            when p.is_paid_elsewhere then coalesce(c.created_at, p.case_closed_at, p.last_failed_at)
            else coalesce(p.paid_at, c.created_at, p.own_success_at, p.last_failed_at)
        end as paid_at,
        least(coalesce(nullif(c.captured_minor, 0), c.amount_minor, p.amount_minor), p.amount_minor)
            as paid_minor,
        greatest(
            coalesce(r.refunded_minor, 0),
            case when p.is_paid_elsewhere then 0 else p.refunded_minor end,
            case when p.status = 'refunded' and r.charge_id is null then p.amount_minor else 0 end
        ) as refunded_minor,
        coalesce(
            r.disputed_minor,
            case when p.is_disputed and not p.is_paid_elsewhere then p.amount_minor else 0 end
        ) as disputed_minor,
        row_number() over (
            partition by
                p.account_id,
                coalesce(p.payment_charge_id, case when p.is_paid_elsewhere then p.paid_elsewhere_by end, p.debt_id)
            order by p.is_paid_elsewhere, p.first_failed_at, p.debt_id
        ) = 1 as is_counted
    from paid as p
    left join {{ ref('stg_charges') }} as c
        on c.account_id = p.account_id and c.charge_id = p.payment_charge_id
    left join {{ ref('int_charge_reversals') }} as r
        on r.account_id = p.account_id and r.charge_id = p.payment_charge_id
)

select
    *,
    case
        when is_counted then greatest(paid_minor - refunded_minor - disputed_minor, 0)
        else 0
    end::bigint as kept_minor
from priced
