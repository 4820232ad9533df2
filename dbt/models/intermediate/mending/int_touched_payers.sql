{%- set touched = ref('int_touched_debts') -%}
-- depends_on: {{ touched }} {{ ref('int_touched_charges') }} {{ ref('stg_failed_payments') }} {{ ref('stg_attempts') }} {{ source('build', 'since') }}
{% if mends() %}
with before as (
    -- A failed payment that is no news names the same payments now.
    select * from {{ as_built('int_debt_payers') }}
    where debt_key in (select {{ key('t.account_id', 't.debt_id') }} from {{ touched }} as t)
),

news as (
    {{ excerpt_of(ref('stg_failed_payments'), is_news('failed_payments', 's')) }}
),

payers as (
    {%- for key in ['payer_key', 'debt_key', 'paid_charge_key', 'elsewhere_charge_key', 'elsewhere_key'] %}
    select {{ key }} as payer_key from before
    union all
    {%- endfor %}
    {%- for id in ['debt_id', 'paid_charge_id', 'paid_elsewhere_charge_id', 'paid_elsewhere_by'] %}
    select {{ key('account_id', id) }} from news
    union all
    {%- endfor %}
    select {{ key('account_id', 'charge_id') }} from {{ as_built('fct_attempts') }}
    where is_succeeded and (account_id, debt_id) in (select t.account_id, t.debt_id from {{ touched }} as t)
    union all
    select {{ key('account_id', 'charge_id') }} from {{ ref('stg_attempts') }} as a
    where state = 'succeeded' and {{ is_news('attempt', 'a') }}
)

select distinct payer_key from payers where payer_key is not null
{% else %}
select charge_key as payer_key from {{ ref('int_touched_charges') }} where false
{% endif %}
