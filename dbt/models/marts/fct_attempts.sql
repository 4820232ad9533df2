{{ config(materialized=kept_as(), mends_by=['int_case_efforts', 'case_id']) }}
{%- set efforts = ref('int_case_efforts') -%}
with attempts as (
    select * from {{ ref('stg_attempts') }}
    {% if mends() %}where case_id in (select e.case_id from {{ efforts }} as e){% endif %}
),

predicted as (
    -- The planned moment that an attempt came of: the last at or before its call, at most half a day earlier.
    select
        a.attempt_id,
        max_by(p.predicted_chance, p.planned_at) as predicted_chance
    from attempts as a
    inner join {{ ref('int_planned_retries') }} as p
        on
            a.case_id = p.case_id
            and p.planned_at <= a.called_at
            and p.planned_at > a.called_at - {{ hours(12) }}
    where not a.is_by_link
    group by a.attempt_id
)

select
    a.attempt_id,
    a.case_id,
    a.account_id,
    a.livemode,
    k.debt_id,
    d.cohort_month,
    a.n,
    case
        when a.is_executed and not a.is_by_link
            then row_number() over (partition by a.case_id, a.is_executed and not a.is_by_link order by a.n)
    end as executed_n,
    a.operation,
    a.is_by_link,
    a.object_id,
    a.charge_id,
    a.currency,
    a.amount_minor,
    k.category,
    k.decline_code as case_decline_code,
    k.policy_version,
    k.model_version,
    p.predicted_chance,
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
from attempts as a
left join {{ efforts }} as k on a.case_id = k.case_id
left join {{ ref('fct_failed_payments') }} as d on k.account_id = d.account_id and k.debt_id = d.debt_id
left join predicted as p on a.attempt_id = p.attempt_id
