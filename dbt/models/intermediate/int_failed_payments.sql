{{ config(materialized=excerpt_as()) }}
-- depends_on: {{ ref('int_restated_debts') }}
{{ excerpt_of(ref('stg_failed_payments'), is_restated('s')) }}
