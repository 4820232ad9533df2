-- depends_on: {{ ref("int_touched_debts") }} {{ ref("int_debt_payers") }} {{ ref("int_touched_payers") }}
{% if mends() %}
with payers as (
    select distinct payer_key from {{ ref('int_debt_payers') }}
    where (account_id, debt_id) in (select account_id, debt_id from {{ ref('int_touched_debts') }})
    union
    select payer_key from {{ ref('int_touched_payers') }}
),

restated as (
    select account_id, debt_id from {{ ref('int_touched_debts') }}
    union
    select account_id, debt_id from {{ ref('int_debt_payers') }} where payer_key in (select payer_key from payers)
)

select
    r.account_id,
    r.debt_id,
    f.customer_id as customer_before,
    f.subscription_id as subscription_before
from restated as r
left join {{ as_built('fct_failed_payments') }} as f on r.account_id = f.account_id and r.debt_id = f.debt_id
{% else %}
select account_id, debt_id, customer_id as customer_before, subscription_id as subscription_before
from {{ ref('stg_failed_payments') }} where false
{% endif %}
