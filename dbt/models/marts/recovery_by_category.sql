select
    account_id,
    livemode,
    currency,
    cohort_month,
    category,
    move,
    {{ recovery_metrics() }},
    {{ metrics(['own_attempts', 'messages_sent']) }}
from {{ ref('fct_failed_payments') }}
group by account_id, livemode, currency, cohort_month, category, move
