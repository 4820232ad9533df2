{{ config(materialized=kept_as(), mends_by=['int_case_efforts', 'case_id'], mends_within=['int_touched_months', 'cohort_month', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
with predicted as (
    -- The planned moment that an attempt came of: the last at or before its call, at most half a day earlier.
    select
        a.attempt_id,
        max_by(p.predicted_chance, p.planned_at) as predicted_chance
    from {{ ref('int_attempts') }} as a
    inner join {{ ref('int_planned_retries') }} as p
        on
            a.case_id = p.case_id
            and p.planned_at <= a.called_at
            and p.planned_at > a.called_at - {{ hours(12) }}
    where not a.is_by_link
    group by a.attempt_id
),

numbered as (
    select
        *,
        case
            when is_executed and not is_by_link
                then row_number() over (partition by case_id, is_executed and not is_by_link order by n)
        end as executed_n
    from {{ ref('int_attempts') }}
)

select
    a.attempt_id,
    a.case_id,
    a.account_id,
    a.livemode,
    k.debt_id,
    coalesce(d.cohort_month, {{ month_of('k.opened_at') }}) as cohort_month,
    a.n,
    a.executed_n,
    coalesce(d.is_closed and d.outcome = 'owed' and not a.forbids_card and a.executed_n = d.own_attempts, false) as is_last_of_lost,
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
    a.forbids_card,
    a.decline_code,
    a.advice_code,
    a.network_decline_code,
    a.network_advice_code,
    a.prepared_at,
    a.called_at,
    a.settled_at
from numbered as a
left join {{ ref('int_case_efforts') }} as k on a.case_id = k.case_id
left join {{ made_now('fct_failed_payments') }} as d on k.account_id = d.account_id and k.debt_id = d.debt_id
left join predicted as p on a.attempt_id = p.attempt_id
