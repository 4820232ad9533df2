-- depends_on: {{ ref('int_changed_files') }} {{ ref('stg_customers') }} {{ ref('int_restated_debts') }} {{ ref('fct_failed_payments') }}
{% if mends() %}
with customers as (
    select account_id, customer_before as customer_id
    from {{ ref('int_restated_debts') }}
    where customer_before is not null
    union
    select account_id, customer_id
    from {{ made_now('fct_failed_payments') }}
    where customer_id is not null
    union
    select account_id, customer_id
    from ({{ differing("columns(lambda c: c <> 'customer_key')", ref('stg_customers'), as_built('int_customers')) }}) as d
)

select *, {{ key('account_id', 'customer_id') }} as customer_key from customers
{% else %}
select account_id, customer_id, {{ key('account_id', 'customer_id') }} as customer_key from {{ ref('stg_customers') }} where false
{% endif %}
