{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
{%- set distance = 'predicted_chance - case when is_succeeded then 1 else 0 end' -%}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    cohort_month,
    {{ month_of('called_at') }} as called_month,
    coalesce(model_version, 'no model') as model_version,
    policy_version,
    category,
    {{ metrics(['executed_count', 'succeeded_count']) }},
    {{ tally('predicted_chance is not null') }} as predicted_count,
    {{ tally('predicted_chance is not null and is_succeeded') }} as predicted_succeeded_count,
    {{ exact_sum('predicted_chance') }} as predicted_chances,
    {{ exact_sum('(' ~ distance ~ ') * (' ~ distance ~ ')') }} as squared_distances
from {{ ref('fct_attempts') }}
where is_executed and not is_by_link and called_at is not null and {{ is_of_touched_month() }}
group by
    account_id, livemode, cohort_month, {{ month_of('called_at') }}, coalesce(model_version, 'no model'),
    policy_version, category
