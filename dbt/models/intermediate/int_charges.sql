{{ config(materialized=kept_as(), mends_by=['int_touched_charges', 'charge_key'], mends_within=['int_touched_charges', 'created_before', 'created_on']) }}
{%- set columns = ['charge_key', 'intent_key', 'account_id', 'livemode', 'currency', 'amount_minor', 'captured_minor', 'refunded_minor', 'status', 'is_captured', 'is_disputed', 'created_at', 'created_on', 'file'] -%}
{%- set touched = ref('int_touched_charges') -%}
with charges as (
    select {{ columns | join(', ') }}
    from {{ touched if mends() else ref('int_read_charges') }}
    {% if mends() %}where is_there{% endif %}
),

links as (
    select
        linked_key,
        place,
        account_id,
        debt_id
    from {{ ref('int_debt_links') }}
    {% if mends() -%}
    where linked_key in (
        select t.intent_key from {{ touched }} as t
        union all
        select u.charge_key from {{ touched }} as u
    )
    {%- endif %}
),

several as (
    -- Hardly any has two, and to look for the first of two among millions of texts is dear.
    select linked_key
    from links
    group by linked_key, place
    having count(*) > 1
),

chosen as (
    select
        linked_key,
        place,
        {{ key('account_id', 'debt_id') }} as debt_key
    from links
    where not exists (select 1 from several as v where v.linked_key = links.linked_key)
    union all
    select
        linked_key,
        place,
        {{ key('account_id', 'min(debt_id)') }} as debt_key
    from links
    where linked_key in (select v.linked_key from several as v)
    group by account_id, linked_key, place
)

select
    {% for name in columns %}c.{{ name }},
    {% endfor -%}
    coalesce(i.debt_key, j.debt_key, s.debt_key, c.intent_key, c.charge_key) as debt_key
from charges as c
left join chosen as i on c.intent_key = i.linked_key and i.place = 1
left join chosen as j on c.charge_key = j.linked_key and j.place = 2
left join chosen as s on c.intent_key = s.linked_key and s.place = 3
