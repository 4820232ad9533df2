{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    cohort_month,
    coalesce(verdict_source, 'none') as verdict_source,
    coalesce(verdict_rule, 'none') as verdict_rule,
    category,
    move,
    {{ metrics(['failed_count', 'recovered_count', 'recovery_rate_count']) }},
    {{ tally("recovered_by = 'own_retry'") }} as recovered_by_own_retry_count,
    {{ tally("move in ('stop', 'fix_config') and is_recovered") }} as recovered_against_verdict_count,
    {{ tally("category = 'unknown'") }} as unknown_count,
    {{ mean('verdict_confidence') }} as mean_confidence
from {{ ref('fct_failed_payments') }}
where {{ is_of_touched_month() }}
group by
    account_id, livemode, cohort_month, coalesce(verdict_source, 'none'), coalesce(verdict_rule, 'none'), category, move
