{{ config(materialized=kept_as(), mends_by=['int_touched_debt_keys', 'debt_key']) }}
{%- set touched = ref('int_touched_debt_keys') -%}
with made as (
    select
        debt_key,
        charge_key,
        account_id,
        livemode,
        currency,
        amount_minor,
        created_at,
        created_on
    from {{ ref('int_debt_charges') }}
    where status <> 'failed'
),

failed as (
    select debt_key from {{ ref('int_debt_payers') }}
    {% if mends() %}where debt_key in (select t.debt_key from {{ touched }} as t){% endif %}
),

several as (
    -- Most debts have one charge; only the others need an order.
    select debt_key
    from made
    group by debt_key
    having count(*) > 1
),

numbered as (
    select
        *,
        row_number() over (partition by debt_key order by created_at, charge_key) as n
    from made
    where debt_key in (select s.debt_key from several as s) and debt_key not in (select f.debt_key from failed as f)
)

select * from made
where debt_key in (select f.debt_key from failed as f)
union all
select
    debt_key,
    charge_key,
    account_id,
    livemode,
    currency,
    amount_minor,
    created_at,
    created_on
from numbered
where n > 1
