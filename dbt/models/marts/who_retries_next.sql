with following as (
    select
        p.case_id,
        min_by(p.predicted_chance, p.planned_at) as predicted_chance
    from {{ ref('int_planned_retries') }} as p
    cross join {{ ref('stg_clock') }} as c
    where p.planned_at >= c.as_of - {{ hours(12) }}
    group by p.case_id
)

select
    k.account_id,
    k.livemode,
    k.case_id,
    k.debt_id,
    k.currency,
    k.amount_minor,
    k.category,
    k.move,
    k.due_at,
    coalesce(k.due_at, k.not_before) < c.as_of as is_due,
    k.executed_attempts,
    k.max_attempts,
    f.predicted_chance,
    k.policy_version
from {{ ref('stg_cases') }} as k
cross join {{ ref('stg_clock') }} as c
left join following as f on k.case_id = f.case_id
where k.case_state = 'open' and k.due_at is not null and k.executed_attempts < k.max_attempts
order by k.due_at, k.case_id
