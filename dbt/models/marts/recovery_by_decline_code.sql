select
    account_id,
    livemode,
    currency,
    cohort_month,
    decline_code,
    category,
    {{ recovery_metrics() }},
    {{ metrics(['own_attempts', 'messages_sent', 'never_retried_lost_count', 'never_retried_lost_amount_minor']) }}
from {{ ref('fct_failed_payments') }}
group by account_id, livemode, currency, cohort_month, decline_code, category
