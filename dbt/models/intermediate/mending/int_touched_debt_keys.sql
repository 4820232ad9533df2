-- depends_on: {{ ref('int_touched_charges') }} {{ ref('int_charges') }} {{ ref('int_restated_debts') }} {{ ref('int_debt_payers') }}
{% if mends() %}
select debt_before as debt_key from {{ ref('int_touched_charges') }} where debt_before is not null
union
select debt_key from {{ made_now('int_charges') }}
union
select debt_key from {{ ref('int_restated_debts') }}
union
-- What paid elsewhere is a debt of its own, to which its charge belongs.
select elsewhere_key from {{ made_now('int_debt_payers') }} where elsewhere_key is not null
{% else %}
select debt_key from {{ ref('int_charges') }} where false
{% endif %}
