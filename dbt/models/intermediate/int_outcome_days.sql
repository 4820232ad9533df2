{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
{%- set days = 'greatest(' ~ date_gap('first_failed_on', day_of('outcome_at')) ~ ', 0)' %}
select
    account_id,
    livemode,
    cohort_month,
    category,
    case when outcome = 'recovered' then 'recovered' else 'ended' end as fate,
    {{ days }} as days,
    count(*) as debts
from {{ ref('fct_failed_payments') }}
where outcome <> 'owed' and {{ is_of_touched_month() }}
group by
    account_id, livemode, cohort_month, category, case when outcome = 'recovered' then 'recovered' else 'ended' end,
    {{ days }}
