with windows as (
    select distinct network, keyed_by, window_hours
    from {{ ref('stg_cap_rules') }}
    where excess_fee_minor is not null
),

events as (
    select
        charge_id as event_id, true as is_made, is_ours, account_id, livemode, network,
        card_fingerprint, amount_minor, currency, attempted_at as happened_at
    from {{ ref('stg_network_attempts') }}
    where is_declined

    union all

    select
        'refusal:' || r.refusal_id, false, true, c.account_id, c.livemode, c.network,
        c.card_fingerprint, c.amount_minor, c.currency, r.refused_at
    from {{ ref('stg_cap_refusals') }} as r
    inner join {{ ref('stg_cases') }} as c on c.case_id = r.case_id
    where r.rule not in (select rule from {{ ref('stg_cap_rules') }} where network = 'mail')
),

counted as (
    select
        e.*,
        w.keyed_by,
        w.window_hours,
        sum(e.is_made::integer) over (
            partition by
                e.account_id, e.card_fingerprint, w.network, w.keyed_by, w.window_hours,
                case when w.keyed_by = 'fingerprint_amount' then e.currency || e.amount_minor end
            order by e.happened_at
            range between (to_hours(w.window_hours) - interval 1 microsecond) preceding and current row
        ) - e.is_made::integer as declined_before
    from events as e
    inner join windows as w on w.network = e.network
    where e.card_fingerprint is not null
)

select
    c.event_id,
    c.is_made,
    c.is_ours,
    c.account_id,
    c.livemode,
    c.network,
    c.happened_at,
    arg_max(r.rule, r.excess_fee_minor) as rule,
    max(r.excess_fee_minor) as fee_minor,
    r.fee_currency
from counted as c
inner join {{ ref('stg_cap_rules') }} as r
    on r.network = c.network and r.keyed_by = c.keyed_by and r.window_hours = c.window_hours
    and c.happened_at >= r.valid_from and (r.valid_until is null or c.happened_at < r.valid_until)
where r.excess_fee_minor is not null and c.declined_before >= r.max_attempts
group by all
