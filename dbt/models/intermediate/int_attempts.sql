{{ config(materialized=excerpt_as()) }}
-- depends_on: {{ ref('int_cases') }}
{{ excerpt_of(ref('stg_attempts'), 's.case_id in (select k.case_id from ' ~ ref('int_cases') ~ ' as k)') }}
