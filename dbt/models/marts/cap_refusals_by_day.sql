with networks as (
    select rule, any_value(network) as network from {{ ref('stg_cap_rules') }} group by rule
)

select
    r.account_id,
    c.livemode,
    r.refused_at::date as day,
    r.rule,
    coalesce(n.network, 'any') as network,
    c.currency,
    count(*) as refusals,
    count(distinct r.case_id) as refused_cases,
    {{ total('c.amount_minor', "coalesce(n.network, 'any') <> 'mail'") }} as refused_amount_minor,
    max(r.free_at) as last_free_at
from {{ ref('stg_cap_refusals') }} as r
inner join {{ ref('stg_cases') }} as c on c.case_id = r.case_id
left join networks as n on n.rule = r.rule
group by r.account_id, c.livemode, r.refused_at::date, r.rule, coalesce(n.network, 'any'), c.currency
