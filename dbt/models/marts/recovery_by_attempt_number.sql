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
where is_executed and not is_by_link
group by account_id, livemode, currency, cohort_month, case_decline_code, category, executed_n
