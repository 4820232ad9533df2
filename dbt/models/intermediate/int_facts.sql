{{ config(materialized=excerpt_as()) }}
-- depends_on: {{ ref('int_restated_debts') }}
{{ part_of(ref('fct_failed_payments'), is_restated('s')) }}
