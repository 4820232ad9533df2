with aged as (
    select
        d.account_id,
        d.livemode,
        d.currency,
        d.category,
        least({{ date_gap('d.first_failed_on', day_of('c.as_of')) }}, 60) as age_days,
        count(*) as open_count,
        {{ total('d.failed_amount_minor') }} as open_amount_minor
    from {{ ref('fct_failed_payments') }} as d
    cross join {{ ref('stg_clock') }} as c
    where not d.is_closed
    group by
        d.account_id, d.livemode, d.currency, d.category,
        least({{ date_gap('d.first_failed_on', day_of('c.as_of')) }}, 60)
),

ends as (
    select
        account_id,
        livemode,
        category,
        recovered_incidence
    from {{ ref('time_to_recover') }}
    where {{ adapter.quote('day') }} = 60
),

chances as (
    -- Of those still owed by that day, the share that the curve has yet to gain.
    select
        a.*,
        e.recovered_incidence as by_the_end,
        t.recovered_incidence as so_far,
        1 - t.recovered_incidence - t.canceled_incidence as still_owed
    from aged as a
    left join {{ ref('time_to_recover') }} as t
        on
            a.account_id = t.account_id and a.livemode = t.livemode and a.category = t.category
            and a.age_days = t.{{ adapter.quote('day') }}
    left join ends as e
        on a.account_id = e.account_id and a.livemode = e.livemode and a.category = e.category
)

select
    account_id,
    livemode,
    currency,
    category,
    cast(sum(open_count) as bigint) as open_count,
    cast(sum(open_amount_minor) as bigint) as open_amount_minor,
    round(sum(open_count * case when still_owed > 1e-9 then (by_the_end - so_far) / still_owed else 0 end), 6)
        as predicted_count,
    cast(round(
        sum(open_amount_minor * case when still_owed > 1e-9 then (by_the_end - so_far) / still_owed else 0 end)
    ) as bigint) as predicted_amount_minor
from chances
group by account_id, livemode, currency, category
