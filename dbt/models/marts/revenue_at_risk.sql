select
    d.account_id,
    d.livemode,
    d.currency,
    d.category,
    d.move,
    case
        when d.case_id is null then 'no case'
        when d.case_state = 'needs_human' then 'waits for a person'
        when d.move = 'wait_stripe' then 'Stripe retries'
        else 'in recovery'
    end as standing,
    case
        when {{ date_gap('d.first_failed_on', day_of('c.as_of')) }} < 7 then '1: under a week'
        when {{ date_gap('d.first_failed_on', day_of('c.as_of')) }} < 28 then '2: one to four weeks'
        else '3: four weeks and more'
    end as age_band,
    {{ metrics(['open_count', 'open_amount_minor']) }},
    min(d.first_failed_at) as oldest_failed_at
from {{ ref('fct_failed_payments') }} as d
cross join {{ ref('stg_clock') }} as c
where not d.is_closed
group by 1, 2, 3, 4, 5, 6, 7
