select
    account_id,
    livemode,
    called_month,
    model_version,
    policy_version,
    category,
    {{ total('executed_count') }} as executed_count,
    {{ total('succeeded_count') }} as succeeded_count,
    {{ rate(total('succeeded_count'), total('executed_count')) }} as success_rate,
    {{ total('predicted_count') }} as predicted_count,
    {{ rate('sum(predicted_chances)', total('predicted_count')) }} as mean_predicted_chance,
    {{ rate(total('predicted_succeeded_count'), total('predicted_count')) }} as predicted_success_rate,
    {{ rate('sum(squared_distances)', total('predicted_count')) }} as brier_score
from {{ ref('int_model_months') }}
group by account_id, livemode, called_month, model_version, policy_version, category
