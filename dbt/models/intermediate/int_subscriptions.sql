{{ config(materialized=kept_as(), mends_by=['int_changed_files', 'file']) }}
-- depends_on: {{ ref('int_changed_files') }} {{ ref('int_touched_subscriptions') }}
select
    {{ key('account_id', 'subscription_id') }} as subscription_key,
    *
from {{ ref('stg_subscriptions') }}
