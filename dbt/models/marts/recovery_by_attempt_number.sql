with tries as (
    select
        a.account_id,
        a.livemode,
        a.currency,
        a.cohort_month,
        a.case_decline_code as decline_code,
        a.category,
        a.executed_n,
        a.amount_minor,
        a.is_executed,
        a.is_by_link,
        a.is_succeeded,
        d.is_closed and not d.is_paid_later and a.executed_n = d.own_attempts as is_last_and_lost
    from {{ ref('fct_attempts') }} as a
    left join {{ ref('fct_failed_payments') }} as d on a.account_id = d.account_id and a.debt_id = d.debt_id
    where a.is_executed and not a.is_by_link
)

select
    account_id,
    livemode,
    currency,
    cohort_month,
    decline_code,
    category,
    executed_n as attempt_number,
    {{ metrics(['executed_count', 'succeeded_count', 'success_rate', 'executed_amount_minor', 'succeeded_amount_minor']) }},
    {{ tally('is_last_and_lost') }} as stopped_count,
    {{ total('amount_minor', 'is_last_and_lost') }} as stopped_amount_minor
from tries
group by account_id, livemode, currency, cohort_month, decline_code, category, executed_n
