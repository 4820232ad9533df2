{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
select
    account_id,
    livemode,
    currency,
    cohort_month,
    category,
    template,
    step,
    {{ metrics(['sent_count', 'followed_count', 'payment_rate', 'followed_amount_minor', 'bounced_count', 'clicked_count']) }},
    {{ tally("state = 'dropped'") }} as dropped_count,
    {{ tally("state in ('failed', 'in_doubt')") }} as troubled_count
from {{ ref('fct_messages') }}
where kind = 'dunning' and {{ is_of_touched_month() }}
group by account_id, livemode, currency, cohort_month, category, template, step
