select
    account_id,
    livemode,
    currency,
    cohort_month,
    {{ recovery_metrics() }},
    {{ metrics(['paid_amount_minor', 'reversed_amount_minor', 'restated_count']) }},
    max(restated_at) as last_restated_at,
    max(first_failed_at) as last_failure_at,
    max(first_failed_at) <= max(as_of) - {{ days(var('mature_days')) }} as is_mature
from {{ ref('fct_failed_payments') }}
cross join {{ ref('stg_clock') }}
group by account_id, livemode, currency, cohort_month
