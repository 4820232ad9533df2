-- depends_on: {{ ref('int_touched_charges') }} {{ ref('int_charges') }} {{ ref('int_touched_debts') }}
{% if mends() %}
select debt_before as debt_key from {{ ref('int_touched_charges') }} where debt_before is not null
union
select debt_key from {{ made_now('int_charges') }}
union
select {{ key('account_id', 'debt_id') }} as debt_key from {{ ref('int_touched_debts') }}
{% else %}
select debt_key from {{ ref('int_charges') }} where false
{% endif %}
