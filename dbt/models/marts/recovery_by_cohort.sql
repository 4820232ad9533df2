select
    account_id,
    livemode,
    currency,
    cohort_month,
    {{ recovery_measures() }},
    max(first_failed_at) as last_failure_at,
    max(first_failed_at) <= (select as_of from {{ ref('stg_clock') }}) - to_days({{ var('mature_days') }}) as is_mature
from {{ ref('recovery_debts') }}
group by account_id, livemode, currency, cohort_month
