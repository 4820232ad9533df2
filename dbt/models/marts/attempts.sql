select
    a.attempt_id,
    a.case_id,
    a.account_id,
    a.livemode,
    k.debt_id,
    a.n,
    case
        when a.is_executed
            then row_number() over (partition by a.case_id, a.is_executed order by a.n)
    end as executed_n,
    a.operation,
    a.object_id,
    a.charge_id,
    a.currency,
    a.amount_minor,
    k.category,
    k.policy_version,
    a.card_brand,
    a.state,
    a.is_executed,
    a.state = 'succeeded' as is_succeeded,
    a.decline_code,
    a.advice_code,
    a.network_decline_code,
    a.network_advice_code,
    a.prepared_at,
    a.called_at,
    a.settled_at
from {{ ref('stg_attempts') }} as a
left join {{ ref('stg_cases') }} as k on k.case_id = a.case_id
