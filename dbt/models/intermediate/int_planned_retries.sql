with open_cases as (
    {{ excerpt_of(ref('stg_cases'), "s.case_state = 'open'") }}
),

cases as (
    -- Of cases that are closed and not made anew nothing is asked: what they planned is in the attempts that came of it.
    select * from open_cases
    where case_state = 'open'
    union all
    select * from {{ ref('int_cases') }}
    where case_state <> 'open'
),

plans as (
    select
        case_id,
        account_id,
        {{ json_list('plan_json', 'retries') }} as moments,
        {{ json_list('plan_json', 'chances') }} as chances
    from cases
    where max_attempts > 0
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
