with grid as (
    select
        c.account_id,
        c.livemode,
        c.category,
        n.{{ adapter.quote('day') }},
        max(c.failed_count) as failed_count
    from {{ ref('int_recovery_curves') }} as c
    cross join ({{ numbers(0, 60, adapter.quote('day')) }}) as n
    group by c.account_id, c.livemode, c.category, n.{{ adapter.quote('day') }}
)

select
    g.account_id,
    g.livemode,
    g.category,
    g.{{ adapter.quote('day') }},
    cast(g.failed_count as bigint) as failed_count,
    cast(coalesce(i.at_risk_count, g.failed_count) as bigint) as at_risk_count,
    cast(coalesce(i.recovered_count, 0) as bigint) as recovered_count,
    cast(coalesce(i.ended_count, 0) as bigint) as canceled_count,
    round(least(coalesce(i.recovered_incidence, 0), 1), 12) as recovered_incidence,
    round(least(coalesce(i.ended_incidence, 0), 1), 12) as canceled_incidence
from grid as g
left join {{ ref('int_recovery_curves') }} as i
    on
        g.account_id = i.account_id
        and g.livemode = i.livemode
        and g.category = i.category
        and g.{{ adapter.quote('day') }} >= i.from_day
        and (i.until_day is null or g.{{ adapter.quote('day') }} < i.until_day)
