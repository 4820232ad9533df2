-- depends_on: {{ ref('int_touched_debts') }} {{ ref('int_touched_payers') }}
{% if mends() %}
with restated as (
    select account_id, debt_id from {{ ref('int_touched_debts') }}
    union
    select account_id, debt_id from {{ as_built('int_debt_payers') }}
    where payer_key in (select p.payer_key from {{ ref('int_touched_payers') }} as p)
),

before as (
    {{ part_of(as_built('fct_failed_payments'), '(s.account_id, s.debt_id) in (select r.account_id, r.debt_id from restated as r)') }}
)

select
    r.account_id,
    r.debt_id,
    {{ key('r.account_id', 'r.debt_id') }} as debt_key,
    f.customer_id as customer_before,
    f.subscription_id as subscription_before,
    f.first_failed_on as failed_before,
    f.first_failed_at as failed_at_before
from restated as r
left join before as f on r.account_id = f.account_id and r.debt_id = f.debt_id
{% else %}
select
    account_id,
    debt_id,
    {{ key('account_id', 'debt_id') }} as debt_key,
    customer_id as customer_before,
    subscription_id as subscription_before,
    {{ day_of('first_failed_at') }} as failed_before,
    first_failed_at as failed_at_before
from {{ ref('stg_failed_payments') }} where false
{% endif %}
