{{ config(pre_hook="{{ as_little_is_made() }}") }}
-- depends_on: {{ source('build', 'changed_files') }} {{ ref('stg_clock') }}
{% if mends() %}
select file from {{ source('build', 'changed_files') }}
{% else %}
select cast(null as {{ text_type() }}) as file from {{ ref('stg_clock') }} where false
{% endif %}
