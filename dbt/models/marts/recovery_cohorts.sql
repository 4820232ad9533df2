{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
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
where {{ is_of_touched_month() }}
group by account_id, livemode, currency, cohort_month
