select
    d.account_id,
    d.livemode,
    d.cohort_month,
    d.category,
    case
        when d.outcome = 'recovered' then 'recovered'
        when d.outcome in ('canceled', 'reversed', 'merged') then 'ended'
        else 'owed'
    end as fate,
    greatest(
        {{ date_gap('d.first_failed_on', 'coalesce(' ~ day_of('d.outcome_at') ~ ', ' ~ day_of('c.as_of') ~ ')') }}, 0
    ) as days,
    count(*) as debts
from {{ ref('fct_failed_payments') }} as d
cross join {{ ref('stg_clock') }} as c
group by 1, 2, 3, 4, 5, 6
