-- depends_on: {{ ref('stg_cases') }}
-- depends_on: {{ ref('stg_attempts') }}
-- depends_on: {{ ref('stg_messages') }}
-- depends_on: {{ ref('stg_links') }}
-- depends_on: {{ ref('stg_cap_refusals') }}
-- depends_on: {{ ref('stg_failed_payments') }}
-- depends_on: {{ ref('stg_verdicts') }}
-- depends_on: {{ ref('stg_refunds') }}
-- depends_on: {{ ref('stg_disputes') }}
-- depends_on: {{ ref('stg_retry_announcements') }}
-- depends_on: {{ ref('int_touched_prices') }}
-- depends_on: {{ ref('int_read_endings') }}
-- depends_on: {{ ref('int_touched_charges') }}
-- depends_on: {{ ref('int_changed_files') }}
-- depends_on: {{ source('build', 'since') }}
{% if mends() %}
with charges as (
    select charge_key as paid_by from {{ ref('int_touched_charges') }}
    union
    select intent_key from {{ ref('int_touched_charges') }} where intent_key is not null
    union
    select intent_before from {{ ref('int_touched_charges') }} where intent_before is not null
    union
    {%- for name, id in [('refunds', 'refund_id'), ('disputes', 'dispute_id')] %}
    select {{ key('account_id', 'charge_id') }} from (
        {{ differing('account_id, ' ~ id ~ ', charge_id, amount_minor, status, created_at, file', ref('stg_' ~ name), as_built('int_' ~ name)) }}
    ) as d where charge_id is not null
    {{ 'union' if not loop.last }}
    {%- endfor %}
),

tried as (
    select case_id from {{ ref('stg_attempts') }} as a where {{ is_news('attempt', 'a') }}
    union
    select case_id from {{ ref('stg_messages') }} as m where {{ is_news('message', 'm') }}
    union
    select case_id from {{ ref('stg_links') }} as l where {{ is_news('recovery_link', 'l') }}
    union
    select case_id from {{ ref('stg_cap_refusals') }} as r where {{ is_news('cap_refusal', 'r') }}
),

cases as (
    {{ excerpt_of(ref('stg_cases'), 's.case_id in (select t.case_id from tried as t)') }}
)

select account_id, debt_id from {{ ref('stg_failed_payments') }} as f where {{ is_news('failed_payments', 'f') }}
union
select account_id, debt_id from {{ ref('stg_verdicts') }} as v where {{ is_news('verdicts', 'v') }}
union
select account_id, debt_id from {{ ref('stg_cases') }} as k where {{ is_news('recovery_case', 'k') }}
union
select account_id, debt_id from cases
union
{%- for name in ['payment_key', 'intent_key', 'elsewhere_key'] %}
select account_id, debt_id from {{ as_built('int_debt_payers') }} where {{ name }} in (select paid_by from charges)
union
{%- endfor %}
select account_id, debt_id from {{ as_built('int_debt_payers') }} where debt_key in (
    -- An invoice is its own debt.
    select {{ key('account_id', 'invoice_id') }} from (
        {{ differing('*', ref('stg_retry_announcements'), as_built('int_retry_announcements')) }}
    ) as a
    union
    select {{ key('account_id', 'debt_id') }} from (
        {{ differing('*', ref('int_read_endings'), as_built('int_endings')) }}
    ) as e
)
union
select f.account_id, f.debt_id from {{ as_built('fct_failed_payments') }} as f
where (f.account_id, f.price_id) in (
    select account_id, price_id from {{ ref('int_touched_prices') }}
)
{% else %}
select account_id, debt_id from {{ ref('stg_failed_payments') }} where false
{% endif %}
