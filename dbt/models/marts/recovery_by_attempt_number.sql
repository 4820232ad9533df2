{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    currency,
    cohort_month,
    case_decline_code as decline_code,
    category,
    executed_n as attempt_number,
    {{ metrics(['executed_count', 'succeeded_count', 'success_rate', 'executed_amount_minor', 'succeeded_amount_minor']) }},
    {{ tally('is_last_of_lost') }} as stopped_count,
    {{ total('amount_minor', 'is_last_of_lost') }} as stopped_amount_minor
from {{ ref('fct_attempts') }}
where is_executed and not is_by_link and {{ is_of_touched_month() }}
group by account_id, livemode, currency, cohort_month, case_decline_code, category, executed_n
