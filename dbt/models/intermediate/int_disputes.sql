{{ config(materialized=kept_as(), mends_by=['int_changed_files', 'file']) }}
-- depends_on: {{ ref('int_changed_files') }} {{ ref('int_touched_debts') }}
select
    *,
    {{ key('account_id', 'charge_id') }} as charge_key
from {{ ref('stg_disputes') }}
