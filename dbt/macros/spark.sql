{#-
Spark has no pattern of files in its SQL, so each source becomes a table over its files before the models are built:
`dbt run-operation spark_sources --target spark`. DuckDB reads the files where the models name them.
-#}
{% macro spark_sources() -%}
    {%- if execute -%}
        {%- set lake = env_var('TINKO_DBT_LAKE') -%}
        {%- set places = {
            'lake': (lake ~ '/tables/{name}', '*.parquet'),
            'derived': (lake ~ '/derived', '{name}.parquet'),
            'ledger': (env_var('TINKO_DBT_EXPORT'), '{name}.parquet'),
            'build': (env_var('TINKO_DBT_TOLD'), '{name}.parquet'),
        } -%}
        {%- for one in graph.sources.values() -%}
            {%- set made = one.source_name ~ '.' ~ one.name -%}
            {%- set folder, files = places[one.source_name] -%}
            {%- do run_query('create database if not exists ' ~ one.source_name) -%}
            {%- do run_query('drop table if exists ' ~ made) -%}
            {%- do run_query(
                'create table ' ~ made ~ " using parquet options (path '" ~ folder.replace('{name}', one.name)
                ~ "', pathGlobFilter '" ~ files.replace('{name}', one.name)
                ~ "', recursiveFileLookup '" ~ ('true' if one.source_name == 'lake' else 'false') ~ "', mergeSchema 'true')"
            ) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
