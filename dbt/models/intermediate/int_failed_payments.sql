{{ config(materialized=excerpt_as()) }}
-- depends_on: {{ ref('int_restated_debts') }} {{ source('build', 'since') }}
{%- set debts = ref('stg_failed_payments') -%}
-- Of a row that is no news the moment is that of the last build: moments are found much sooner than ids.
{%- set is_of_moment %}
s.first_failed_at in (
    select r.failed_at_before from {{ ref('int_restated_debts') }} as r
    union
    select n.first_failed_at from {{ debts }} as n where {{ is_news('failed_payments', 'n') }}
)
{%- endset %}
select * from ({{ excerpt_of(debts, is_of_moment) }}) as f
{% if mends() %}where {{ is_restated('f') }}{% endif %}
