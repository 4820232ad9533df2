with debts as (
    select
        f.*,
        e.case_id,
        e.closed_at as case_closed_at,
        e.own_success_at,
        e.own_charge_id,
        coalesce(e.has_own_success, false) as has_own_success,
        coalesce(e.has_link_success, false) as has_link_success,
        f.status in ('paid', 'refunded') or coalesce(e.has_own_success or e.has_link_success, false)
            as is_paid_itself
    from {{ ref('stg_failed_payments') }} as f
    left join {{ ref('int_case_efforts') }} as e on f.account_id = e.account_id and f.debt_id = e.debt_id
),

wanted as (
    select
        account_id,
        paid_elsewhere_by as paid_by
    from debts
    where not is_paid_itself and paid_elsewhere_by is not null
    group by account_id, paid_elsewhere_by
),

payments as (
    -- By intent or by charge: one key, since a join on either of two would compare every debt with every charge.
    select
        c.account_id,
        c.payment_intent_id as paid_by,
        c.charge_id,
        c.created_at
    from {{ ref('stg_charges') }} as c
    inner join wanted as w on c.account_id = w.account_id and c.payment_intent_id = w.paid_by
    where c.status = 'succeeded'
    union all
    select
        c.account_id,
        c.charge_id as paid_by,
        c.charge_id,
        c.created_at
    from {{ ref('stg_charges') }} as c
    inner join wanted as w on c.account_id = w.account_id and c.charge_id = w.paid_by
    where c.status = 'succeeded'
),

elsewhere as (
    select
        account_id,
        paid_by,
        min_by(charge_id, created_at) as charge_id
    from payments
    group by account_id, paid_by
),

paid as (
    select
        d.*,
        not d.is_paid_itself as is_paid_elsewhere,
        case
            when d.is_paid_itself then coalesce(d.paid_charge_id, d.own_charge_id)
            else e.charge_id
        end as payment_charge_id
    from debts as d
    left join elsewhere as e
        on d.account_id = e.account_id and d.paid_elsewhere_by = e.paid_by and not d.is_paid_itself
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
            case when p.status = 'refunded' and c.charge_id is null then p.amount_minor else 0 end
        ) as refunded_minor,
        coalesce(
            r.disputed_minor,
            case when p.is_disputed and not p.is_paid_elsewhere and c.charge_id is null then p.amount_minor else 0 end
        ) as disputed_minor,
        r.reversed_at,
        row_number() over (
            partition by
                p.account_id,
                coalesce(
                    p.payment_charge_id, case when p.is_paid_elsewhere then p.paid_elsewhere_by end, p.debt_id
                )
            order by p.is_paid_elsewhere, p.first_failed_at, p.debt_id
        ) = 1 as is_counted
    from paid as p
    left join {{ ref('stg_charges') }} as c
        on p.account_id = c.account_id and p.payment_charge_id = c.charge_id and c.status = 'succeeded'
    left join {{ ref('int_charge_reversals') }} as r
        on p.account_id = r.account_id and p.payment_charge_id = r.charge_id
)

select
    *,
    cast(case
        when is_counted then greatest(paid_minor - refunded_minor - disputed_minor, 0)
        else 0
    end as bigint) as kept_minor
from priced
