{%- set day = adapter.quote('day') -%}
with networks as (
    select
        rule,
        min(network) as network
    from {{ ref('stg_cap_rules') }}
    group by rule
),

refusals as (
    select
        r.account_id,
        r.livemode,
        {{ day_of('r.refused_at') }} as {{ day }},
        coalesce(n.network, 'any') as network,
        r.rule,
        count(*) as refusals,
        count(distinct r.case_id) as refused_cases
    from {{ ref('int_cap_refusals') }} as r
    left join networks as n on r.rule = n.rule
    group by r.account_id, r.livemode, {{ day_of('r.refused_at') }}, coalesce(n.network, 'any'), r.rule
),

excess as (
    select
        account_id,
        livemode,
        {{ day_of('happened_at') }} as {{ day }},
        network,
        rule,
        min(fee_currency) as fee_currency,
        count(*) filter (where is_made) as excess_attempts,
        count(*) filter (where is_made and is_ours) as own_excess_attempts,
        {{ total('fee_minor', 'is_made') }} as incurred_fee_minor,
        count(*) filter (where not is_made) as avoided_attempts,
        {{ total('fee_minor', 'not is_made') }} as avoided_fee_minor
    from {{ ref('int_excess_attempts') }}
    group by account_id, livemode, {{ day_of('happened_at') }}, network, rule
)

select
    coalesce(e.account_id, r.account_id) as account_id,
    coalesce(e.livemode, r.livemode) as livemode,
    coalesce(e.{{ day }}, r.{{ day }}) as {{ day }},
    coalesce(e.network, r.network) as network,
    coalesce(e.rule, r.rule) as rule,
    coalesce(r.refusals, 0) as refusals,
    coalesce(r.refused_cases, 0) as refused_cases,
    coalesce(e.excess_attempts, 0) as excess_attempts,
    coalesce(e.own_excess_attempts, 0) as own_excess_attempts,
    coalesce(e.avoided_attempts, 0) as avoided_attempts,
    e.fee_currency,
    coalesce(e.incurred_fee_minor, 0) as incurred_fee_minor,
    coalesce(e.avoided_fee_minor, 0) as avoided_fee_minor
from excess as e
full outer join refusals as r
    on
        e.account_id = r.account_id and e.livemode = r.livemode and e.{{ day }} = r.{{ day }}
        and e.network = r.network and e.rule = r.rule
