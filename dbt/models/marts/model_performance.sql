select
    account_id,
    livemode,
    {{ month_of('called_at') }} as called_month,
    coalesce(model_version, 'no model') as model_version,
    policy_version,
    category,
    {{ metrics(['executed_count', 'succeeded_count', 'success_rate']) }},
    {{ tally('predicted_chance is not null') }} as predicted_count,
    {{ mean('predicted_chance') }} as mean_predicted_chance,
    {{ rate(tally('predicted_chance is not null and is_succeeded'), tally('predicted_chance is not null')) }}
        as predicted_success_rate,
    {{ mean(
        '(predicted_chance - case when is_succeeded then 1 else 0 end)'
        ~ ' * (predicted_chance - case when is_succeeded then 1 else 0 end)'
    ) }} as brier_score
from {{ ref('fct_attempts') }}
where is_executed and not is_by_link and called_at is not null
group by
    account_id, livemode, {{ month_of('called_at') }}, coalesce(model_version, 'no model'), policy_version, category
