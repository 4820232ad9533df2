{%- set day = adapter.quote('day') -%}
{%- set charges, debts = ref('int_touched_charges'), ref('int_failed_payments') -%}
-- depends_on: {{ charges }} {{ debts }} {{ ref('int_debt_charges') }} {{ ref('int_restated_debts') }}
{% if mends() %}
select created_before as {{ day }} from {{ charges }} where created_before is not null
union
select created_on from {{ charges }} where created_on is not null
union
select created_on from {{ ref('int_debt_charges') }}
union
select failed_before from {{ ref('int_restated_debts') }} where failed_before is not null
union
select {{ day_of('first_failed_at') }} from {{ debts }}
{% else %}
select created_on as {{ day }} from {{ charges }} where false
{% endif %}
