with attempts as (
    select
        case_id,
        count(*) filter (where is_executed and not is_by_link) as own_attempts,
        max(settled_at) filter (where state = 'succeeded') as own_success_at,
        max(charge_id) filter (where state = 'succeeded') as own_charge_id,
        coalesce(bool_or(state = 'succeeded' and not is_by_link), false) as has_own_success,
        coalesce(bool_or(state = 'succeeded' and is_by_link), false) as has_link_success
    from {{ ref('int_attempts') }}
    group by case_id
),

messages as (
    select
        case_id,
        count(*) as messages_sent
    from {{ ref('int_messages') }}
    where state = 'sent' and kind = 'dunning'
    group by case_id
)

select
    k.case_id,
    k.account_id,
    k.debt_id,
    k.currency,
    k.case_state,
    k.category,
    k.move,
    k.verdict_source,
    k.verdict_rule,
    k.verdict_confidence,
    k.decline_code,
    k.policy_version,
    k.model_version,
    k.experiment_arm,
    k.created_at as opened_at,
    k.closed_at,
    coalesce(a.own_attempts, 0) as own_attempts,
    coalesce(m.messages_sent, 0) as messages_sent,
    coalesce(a.has_own_success, false) as has_own_success,
    coalesce(a.has_link_success, false) as has_link_success,
    a.own_success_at,
    a.own_charge_id
from {{ ref('int_cases') }} as k
left join attempts as a on k.case_id = a.case_id
left join messages as m on k.case_id = m.case_id
