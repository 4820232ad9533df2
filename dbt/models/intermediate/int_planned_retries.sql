{%- set restated = ref('int_restated_debts') -%}
with plans as (
    select
        case_id,
        account_id,
        {{ json_list('plan_json', 'retries') }} as moments,
        {{ json_list('plan_json', 'chances') }} as chances
    from {{ ref('stg_cases') }}
    where
        max_attempts > 0
        {% if mends() -%}
        -- Of the others nothing is asked: what they planned is in the attempts that came of it.
        and (
            case_state = 'open'
            or (account_id, debt_id) in (select r.account_id, r.debt_id from {{ restated }} as r)
        )
        {%- endif %}
),

places as (
    {{ numbers(1, 20, 'n') }}
)

select
    p.case_id,
    p.account_id,
    s.n,
    cast({{ nth_of('p.moments', 's.n') }} as {{ moment_type() }}) as planned_at,
    cast({{ nth_of('p.chances', 's.n') }} as double) as predicted_chance
from plans as p
inner join places as s on s.n <= {{ length_of('p.moments') }}
