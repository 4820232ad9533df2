{{ config(materialized=kept_as(), mends_by=['int_restated_debts', 'account_id', 'debt_id'], mends_within=['int_restated_debts', 'failed_at_before', 'first_failed_at']) }}
with verdicts as (
    {{ excerpt_of(ref('stg_verdicts'), is_restated('s')) }}
),

debts as (
    select
        f.account_id,
        f.livemode,
        f.debt_id,
        f.debt_kind,
        f.invoice_id,
        f.payment_intent_id,
        f.customer_id,
        f.subscription_id,
        f.currency,
        f.amount_minor as failed_amount_minor,
        f.first_failed_at,
        f.status,
        f.billing_reason,
        f.price_id,
        coalesce(r.nickname, r.product_id, f.price_id) as plan_name,
        f.payment_method_type,
        f.card_brand,
        f.card_funding,
        f.card_issuer,
        f.card_country,
        coalesce(e.category, v.category, 'unknown') as category,
        coalesce(e.move, v.move, 'customer') as move,
        coalesce(e.decline_code, f.decline_code, 'none') as decline_code,
        coalesce(e.verdict_source, v.verdict_source) as verdict_source,
        coalesce(e.verdict_rule, v.verdict_rule) as verdict_rule,
        coalesce(e.verdict_confidence, v.verdict_confidence) as verdict_confidence,
        e.case_id,
        e.case_state,
        e.policy_version,
        e.model_version,
        coalesce(e.experiment_arm, 'none') as experiment_arm,
        p.debt_id is not null as is_paid_later,
        coalesce(p.kept_minor, 0) > 0 as is_recovered,
        a.recovered_by,
        p.paid_at,
        p.is_counted,
        p.payment_charge_id,
        cast(coalesce(case when p.is_counted then p.paid_minor end, 0) as bigint) as paid_amount_minor,
        cast(coalesce(p.kept_minor, 0) as bigint) as recovered_amount_minor,
        cast(coalesce(case when p.is_counted then least(p.disputed_minor, p.paid_minor) end, 0) as bigint)
            as disputed_amount_minor,
        case when p.is_counted then p.reversed_at end as reversed_at,
        coalesce(e.own_attempts, 0) as own_attempts,
        coalesce(e.messages_sent, 0) as messages_sent,
        coalesce(n.ended_at, e.closed_at, f.last_failed_at) as ended_at
    from {{ ref('int_failed_payments') }} as f
    left join verdicts as v on f.account_id = v.account_id and f.debt_id = v.debt_id
    left join {{ ref('int_case_efforts') }} as e on f.account_id = e.account_id and f.debt_id = e.debt_id
    left join {{ ref('int_debt_payments') }} as p on f.account_id = p.account_id and f.debt_id = p.debt_id
    left join {{ ref('int_debt_attribution') }} as a on f.account_id = a.account_id and f.debt_id = a.debt_id
    left join {{ ref('int_prices') }} as r on f.account_id = r.account_id and f.price_id = r.price_id
    left join {{ ref('int_endings') }} as n
        on f.account_id = n.account_id and f.debt_id = n.debt_id and f.status in ('void', 'uncollectible', 'canceled')
)

select
    account_id,
    livemode,
    debt_id,
    debt_kind,
    invoice_id,
    payment_intent_id,
    customer_id,
    subscription_id,
    currency,
    failed_amount_minor,
    {{ amount_band('failed_amount_minor', 'currency') }} as amount_band,
    first_failed_at,
    {{ day_of('first_failed_at') }} as first_failed_on,
    {{ month_of('first_failed_at') }} as cohort_month,
    category,
    move,
    decline_code,
    verdict_source,
    verdict_rule,
    verdict_confidence,
    price_id,
    plan_name,
    billing_reason,
    payment_method_type,
    card_brand,
    card_funding,
    card_issuer,
    card_country,
    case_id,
    case_state,
    policy_version,
    model_version,
    experiment_arm,
    status,
    is_paid_later,
    is_recovered,
    recovered_by,
    case when is_recovered then paid_at end as recovered_at,
    recovered_amount_minor,
    paid_amount_minor,
    paid_amount_minor - recovered_amount_minor as reversed_amount_minor,
    disputed_amount_minor,
    paid_amount_minor > recovered_amount_minor as is_restated,
    case when paid_amount_minor > recovered_amount_minor then coalesce(reversed_at, paid_at) end as restated_at,
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
    case when is_recovered then {{ days_between('first_failed_at', 'paid_at') }} end as days_to_recover,
    own_attempts,
    messages_sent
from debts
order by first_failed_at, account_id, debt_id
