with observed as (
    select
        d.account_id,
        d.livemode,
        d.outcome = 'recovered' as is_recovered,
        d.outcome in ('canceled', 'reversed', 'merged') as is_ended,
        greatest(epoch(coalesce(d.outcome_at, c.as_of) - d.first_failed_at) / 86400.0, 0) as days
    from {{ ref('recovery_debts') }} as d
    cross join {{ ref('stg_clock') }} as c
),

moments as (
    select
        account_id,
        livemode,
        days,
        count(*) as leaving,
        count(*) filter (where is_recovered) as recovered,
        count(*) filter (where is_ended) as ended
    from observed
    group by account_id, livemode, days
),

followed as (
    select
        *,
        sum(leaving) over (
            partition by account_id, livemode order by days rows between current row and unbounded following
        ) as at_risk
    from moments
),

survival as (
    select
        *,
        coalesce(
            product(1 - (recovered + ended) / at_risk) over (
                partition by account_id, livemode order by days rows between unbounded preceding and 1 preceding
            ),
            1
        ) as owed_before
    from followed
),

incidence as (
    select
        account_id,
        livemode,
        days,
        at_risk - leaving as at_risk_after,
        sum(recovered) over so_far as recovered_so_far,
        sum(ended) over so_far as ended_so_far,
        sum(owed_before * recovered / at_risk) over so_far as recovered_incidence,
        sum(owed_before * ended / at_risk) over so_far as ended_incidence
    from survival
    window so_far as (partition by account_id, livemode order by days rows unbounded preceding)
),

grid as (
    select account_id, livemode, count(*) as failed_count, unnest(range(0, 61))::integer as day
    from observed
    group by account_id, livemode
)

select
    g.account_id,
    g.livemode,
    g.day,
    g.failed_count,
    coalesce(i.at_risk_after, g.failed_count)::bigint as at_risk_count,
    coalesce(i.recovered_so_far, 0)::bigint as recovered_count,
    coalesce(i.ended_so_far, 0)::bigint as canceled_count,
    least(coalesce(i.recovered_incidence, 0), 1) as recovered_incidence,
    least(coalesce(i.ended_incidence, 0), 1) as canceled_incidence
from grid as g
asof left join incidence as i
    on i.account_id = g.account_id and i.livemode = g.livemode and g.day >= i.days
