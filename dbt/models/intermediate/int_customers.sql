{{ config(materialized=kept_as(), mends_by=['int_changed_files', 'file']) }}
-- depends_on: {{ ref('int_changed_files') }} {{ ref('int_touched_customers') }}
select
    {{ key('account_id', 'customer_id') }} as customer_key,
    *
from {{ ref('stg_customers') }}
