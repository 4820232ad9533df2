{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    currency,
    cohort_month,
    decline_code,
    category,
    {{ recovery_metrics() }},
    {{ metrics(['open_count', 'open_amount_minor', 'in_recovery_count', 'in_recovery_amount_minor']) }},
    {{ metrics(['own_attempts', 'messages_sent', 'never_retried_lost_count', 'never_retried_lost_amount_minor']) }}
from {{ ref('fct_failed_payments') }}
where {{ is_of_touched_month() }}
group by account_id, livemode, currency, cohort_month, decline_code, category
