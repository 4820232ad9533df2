with outcomes as (
    select
        account_id,
        livemode,
        category,
        fate,
        days,
        debts
    from {{ ref('int_outcome_days') }}
    union all
    select
        d.account_id,
        d.livemode,
        d.category,
        'owed' as fate,
        greatest({{ date_gap('d.first_failed_on', day_of('c.as_of')) }}, 0) as days,
        count(*) as debts
    from {{ ref('fct_failed_payments') }} as d
    cross join {{ ref('stg_clock') }} as c
    where d.outcome = 'owed'
    group by
        d.account_id, d.livemode, d.category,
        greatest({{ date_gap('d.first_failed_on', day_of('c.as_of')) }}, 0)
),

groups as (
    select
        account_id,
        livemode,
        'all' as category,
        fate,
        days,
        debts
    from outcomes
    union all
    select * from outcomes
),

moments as (
    select
        account_id,
        livemode,
        category,
        days,
        sum(debts) as leaving,
        coalesce(sum(debts) filter (where fate = 'recovered'), 0) as recovered,
        coalesce(sum(debts) filter (where fate = 'ended'), 0) as ended
    from groups
    group by account_id, livemode, category, days
),

followed as (
    select
        *,
        sum(leaving) over (
            partition by account_id, livemode, category
            order by days rows between current row and unbounded following
        ) as at_risk
    from moments
),

hazards as (
    -- A product over rows, as a sum of logarithms; where everybody left it is nothing from then on.
    select
        *,
        case
            when recovered + ended < at_risk then ln(1 - (recovered + ended) / cast(at_risk as double))
            else 0
        end as log_kept,
        case when recovered + ended = at_risk then 1 else 0 end as is_last
    from followed
),

survival as (
    select
        *,
        coalesce(
            exp(sum(log_kept) over before)
            * case when sum(is_last) over before > 0 then 0 else 1 end,
            1
        ) as owed_before
    from hazards
    window
        before as (
            partition by account_id, livemode, category
            order by days rows between unbounded preceding and 1 preceding
        )
)

select
    account_id,
    livemode,
    category,
    days as from_day,
    lead(days) over (partition by account_id, livemode, category order by days) as until_day,
    sum(leaving) over everything as failed_count,
    at_risk - leaving as at_risk_count,
    sum(recovered) over so_far as recovered_count,
    sum(ended) over so_far as ended_count,
    sum(owed_before * recovered / cast(at_risk as double)) over so_far as recovered_incidence,
    sum(owed_before * ended / cast(at_risk as double)) over so_far as ended_incidence
from survival
window
    so_far as (
        partition by account_id, livemode, category order by days rows between unbounded preceding and current row
    ),
    everything as (partition by account_id, livemode, category)
