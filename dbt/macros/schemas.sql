{#- A model's schema is named as configured, without the profile's schema in front: marts stay in `main`. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
