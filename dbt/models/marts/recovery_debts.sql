with debts as (
    select
        f.account_id,
        f.livemode,
        f.debt_id,
        f.debt_kind,
        f.customer_id,
        f.subscription_id,
        f.currency,
        f.amount_minor as failed_amount_minor,
        f.first_failed_at,
        date_trunc('month', f.first_failed_at)::date as cohort_month,
        coalesce(e.category, v.category, 'unknown') as category,
        coalesce(e.move, v.move, 'customer') as move,
        coalesce(e.decline_code, f.decline_code, 'none') as decline_code,
        coalesce(e.verdict_source, v.verdict_source) as verdict_source,
        e.case_id,
        e.case_state,
        f.status,
        f.last_failed_at,
        p.debt_id is not null as is_paid_later,
        coalesce(p.kept_minor, 0) > 0 as is_recovered,
        a.recovered_by,
        p.paid_at,
        p.is_counted,
        p.payment_charge_id,
        coalesce(case when p.is_counted then p.paid_minor end, 0)::bigint as paid_amount_minor,
        coalesce(p.kept_minor, 0)::bigint as recovered_amount_minor,
        coalesce(case when p.is_counted then least(p.disputed_minor, p.paid_minor) end, 0)::bigint
            as disputed_amount_minor,
        coalesce(e.own_attempts, 0) as own_attempts,
        coalesce(e.messages_sent, 0) as messages_sent,
        f.card_brand,
        f.card_country,
        coalesce(i.voided_at, i.marked_uncollectible_at, pi.canceled_at, e.closed_at, f.last_failed_at) as ended_at
    from {{ ref('stg_failed_payments') }} as f
    left join {{ ref('stg_verdicts') }} as v on v.account_id = f.account_id and v.debt_id = f.debt_id
    left join {{ ref('int_case_efforts') }} as e on e.account_id = f.account_id and e.debt_id = f.debt_id
    left join {{ ref('int_debt_payments') }} as p on p.account_id = f.account_id and p.debt_id = f.debt_id
    left join {{ ref('int_debt_attribution') }} as a on a.account_id = f.account_id and a.debt_id = f.debt_id
    left join {{ ref('stg_invoices') }} as i
        on i.account_id = f.account_id and i.invoice_id = f.debt_id
    left join {{ ref('stg_payment_intents') }} as pi
        on pi.account_id = f.account_id and pi.payment_intent_id = f.debt_id
)

select
    account_id,
    livemode,
    debt_id,
    debt_kind,
    customer_id,
    subscription_id,
    currency,
    failed_amount_minor,
    first_failed_at,
    cohort_month,
    category,
    move,
    decline_code,
    verdict_source,
    case_id,
    case_state,
    status,
    is_paid_later,
    is_recovered,
    recovered_by,
    case when is_recovered then paid_at end as recovered_at,
    recovered_amount_minor,
    paid_amount_minor,
    paid_amount_minor - recovered_amount_minor as reversed_amount_minor,
    disputed_amount_minor,
    payment_charge_id,
    is_paid_later
        or status in ('canceled', 'void', 'uncollectible')
        or coalesce(case_state in ('recovered', 'paid_elsewhere', 'exhausted', 'cancelled', 'not_ours'), false)
        as is_closed,
    case
        when is_recovered then 'recovered'
        when is_paid_later and not is_counted then 'merged'
        when is_paid_later then 'reversed'
        when status in ('canceled', 'void', 'uncollectible') or coalesce(case_state = 'cancelled', false)
            then 'canceled'
        else 'owed'
    end as outcome,
    case
        when is_paid_later then paid_at
        when status in ('canceled', 'void', 'uncollectible') or coalesce(case_state = 'cancelled', false)
            then ended_at
    end as outcome_at,
    case when is_recovered then epoch(paid_at - first_failed_at) / 86400.0 end as days_to_recover,
    own_attempts,
    messages_sent,
    card_brand,
    card_country
from debts
