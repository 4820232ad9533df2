{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    currency,
    cohort_month,
    {{ weekday('called_at') }} as weekday,
    {{ hour_of('called_at') }} as hour_of_day,
    {{ metrics(['executed_count', 'succeeded_count', 'success_rate', 'succeeded_amount_minor']) }}
from {{ ref('fct_attempts') }}
where is_executed and not is_by_link and called_at is not null and {{ is_of_touched_month() }}
group by
    account_id, livemode, currency, cohort_month,
    {{ weekday('called_at') }}, {{ hour_of('called_at') }}
