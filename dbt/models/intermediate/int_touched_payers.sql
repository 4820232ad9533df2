-- depends_on: {{ ref('int_touched_debts') }}
{% if mends() %}
select distinct payer_key from {{ as_built('int_debt_payers') }}
where (account_id, debt_id) in (select account_id, debt_id from {{ ref('int_touched_debts') }})
{% else %}
select charge_key as payer_key from {{ ref('int_touched_charges') }} where false
{% endif %}
