{%- set columns = 'charge_key, intent_key, account_id, livemode, currency, amount_minor, captured_minor, refunded_minor, status, is_captured, is_disputed, created_at, created_on, file' -%}
-- depends_on: {{ ref('int_changed_files') }} {{ ref('int_read_links') }} {{ ref('int_read_charges') }}
{% if mends() %}
with read as materialized (
    select {{ columns }} from {{ ref('int_read_charges') }}
),

linked as materialized (
    select distinct linked_key, place = 2 as is_charge from (
        {{ differing('linked_key, place, account_id, debt_id, file', ref('int_read_links'), as_built('int_debt_links')) }}
    ) as l
),

linked_charges as materialized (
    -- Hardly any, and for none nothing is looked through.
    select linked_key from linked where is_charge
),

linked_intents as materialized (
    select linked_key from linked where not is_charge
),

places as (
    -- Those of the changed files, and those of a link that differs.
    select rowid as place from {{ as_built('int_charges') }}
    where file in (select c.file from {{ ref('int_changed_files') }} as c)
    union
    select rowid from {{ as_built('int_charges') }} where charge_key in (select l.linked_key from linked_charges as l)
    union
    select rowid from {{ as_built('int_charges') }} where intent_key in (select l.linked_key from linked_intents as l)
),

held as materialized (
    select {{ columns }}, debt_key from {{ as_built('int_charges') }}
    where rowid in (select p.place from places as p)
),

filed as (
    select * from held
    where file in (select c.file from {{ ref('int_changed_files') }} as c)
),

news as (
    select coalesce(r.charge_key, h.charge_key) as charge_key
    from read as r
    full outer join filed as h on r.charge_key = h.charge_key
    where
        r.charge_key is null or h.charge_key is null
        {%- for name in columns.split(', ')[1:] %}
        or r.{{ name }} is distinct from h.{{ name }}
        {%- endfor %}
),

keys as (
    select charge_key from news
    union
    select charge_key from held where charge_key in (select linked_key from linked_charges)
    union
    select charge_key from held where intent_key in (select linked_key from linked_intents)
),

present as (
    select {{ columns }} from read where charge_key in (select charge_key from keys)
    union all
    select {{ columns }} from held
    where charge_key in (select charge_key from keys) and file not in (select file from {{ ref('int_changed_files') }})
),

known as (
    -- A charge lies in one file, so one that was read was held of a changed file, or is new.
    select charge_key, intent_key as intent_before, debt_key as debt_before, created_on as created_before
    from held
    where charge_key in (select charge_key from keys)
)

select
    k.charge_key,
    p.charge_key is not null as is_there,
    p.intent_key,
    p.account_id,
    p.livemode,
    p.currency,
    p.amount_minor,
    p.captured_minor,
    p.refunded_minor,
    p.status,
    p.is_captured,
    p.is_disputed,
    p.created_at,
    p.created_on,
    p.file,
    b.intent_before,
    b.debt_before,
    b.created_before
from keys as k
left join present as p on k.charge_key = p.charge_key
left join known as b on k.charge_key = b.charge_key
{% else %}
select *, true as is_there, intent_key as intent_before, charge_key as debt_before, created_on as created_before
from {{ ref('int_read_charges') }} where false
{% endif %}
