{{ config(materialized=kept_as(), mends_by=['int_cases', 'case_id']) }}
select
    r.refusal_id,
    r.case_id,
    c.account_id,
    c.livemode,
    c.network,
    c.card_fingerprint,
    c.currency,
    c.amount_minor,
    r.rule,
    r.refused_at
from {{ ref('stg_cap_refusals') }} as r
inner join {{ ref('int_cases') }} as c on r.case_id = c.case_id
