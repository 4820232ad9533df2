-- depends_on: {{ ref('int_changed_files') }} {{ ref('stg_subscriptions') }} {{ ref('int_restated_debts') }} {{ ref('fct_failed_payments') }} {{ ref('int_touched_prices') }}
{% if mends() %}
with subscriptions as (
    select account_id, subscription_before as subscription_id
    from {{ ref('int_restated_debts') }}
    where subscription_before is not null
    union
    select account_id, subscription_id
    from {{ made_now('fct_failed_payments') }}
    where subscription_id is not null
    union
    select account_id, subscription_id
    from ({{ differing("columns(lambda c: c <> 'subscription_key')", ref('stg_subscriptions'), as_built('int_subscriptions')) }}) as d
    union
    select account_id, subscription_id
    from {{ as_built('int_subscriptions') }}
    where (account_id, price_id) in (select account_id, price_id from {{ ref('int_touched_prices') }})
)

select *, {{ key('account_id', 'subscription_id') }} as subscription_key from subscriptions
{% else %}
select account_id, subscription_id, {{ key('account_id', 'subscription_id') }} as subscription_key
from {{ ref('stg_subscriptions') }} where false
{% endif %}
