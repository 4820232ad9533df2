-- depends_on: {{ ref('stg_network_attempts') }} {{ ref('int_cap_refusals') }} {{ ref('int_cases') }} {{ source('build', 'since') }}
{% if mends() %}
with refusals as (
    select refusal_id, account_id, card_fingerprint from {{ ref('int_cap_refusals') }}
    where case_id in (select k.case_id from {{ ref('int_cases') }} as k)
),

-- An attempt that is not new may have been another card's, of which nothing is known any more: then it may be any card.
is_any as (
    select
        count(*) filter (where {{ is_news('network_attempt', 'n') }})
        <> count(*) - (select s.row_count from {{ source('build', 'since') }} as s where s.table_name = 'network_attempt') as it_is
    from {{ ref('stg_network_attempts') }} as n
)

select account_id, card_fingerprint
from {{ ref('stg_network_attempts') }} as n
where card_fingerprint is not null and {{ is_news('network_attempt', 'n') }}
union
select account_id, card_fingerprint
from {{ ref('stg_network_attempts') }}
where card_fingerprint is not null and true in (select it_is from is_any where it_is)
union
select account_id, card_fingerprint from refusals where card_fingerprint is not null
union
select account_id, card_fingerprint
from {{ as_built('int_excess_attempts') }}
where event_id in (select concat('refusal:', cast(r.refusal_id as {{ text_type() }})) from refusals as r)
union
select account_id, card_fingerprint
from {{ as_built('int_excess_attempts') }}
where true in (select it_is from is_any where it_is)
{% else %}
select account_id, card_fingerprint from {{ ref('stg_network_attempts') }} where false
{% endif %}
