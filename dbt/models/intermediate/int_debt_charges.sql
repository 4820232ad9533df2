{{ config(materialized=excerpt_as()) }}
-- depends_on: {{ ref('int_touched_debt_keys') }}
{{ part_of(ref('int_charges'), 's.debt_key in (select t.debt_key from ' ~ ref('int_touched_debt_keys') ~ ' as t)') }}
