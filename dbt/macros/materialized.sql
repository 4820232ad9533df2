{#-
How tables and views come to be on DuckDB, in the fewest statements. dbt's own way makes each under another name and swaps it
in, so that readers see it whole at any time; nobody reads the warehouse before all of it is built and tested, and a build
that dies is followed by a whole one.
-#}
{% materialization table, adapter='duckdb' -%}
    {{ return(made_of(compiled_code, 'table')) }}
{%- endmaterialization %}

{% materialization view, adapter='duckdb' -%}
    {{ return(made_of(compiled_code, 'view')) }}
{%- endmaterialization %}

{#- What a build of everything only looks through, and a build that mends takes its part of (see mending.sql). -#}
{% materialization excerpt, adapter='duckdb' -%}
    {{ return(made_of(compiled_code, 'table' if mends() else 'view')) }}
{%- endmaterialization %}

{#- A kept table: what `mends_by` names goes, what was made anew comes (see mending.sql). -#}
{% materialization incremental, adapter='duckdb' -%}
    {%- if should_full_refresh() or load_cached_relation(this) is none -%}
        {{ return(made_of(compiled_code, 'table')) }}
    {%- endif -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set made = made_anew(model.name) -%}
    {%- call statement('anew') -%}
        create or replace table {{ made }} as {{ compiled_code }}
    {%- endcall -%}
    {%- call statement('main') -%}
        {{ mended(target_relation, made) }}
    {%- endcall -%}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}

{% macro made_of(code, kind) -%}
    {%- set existing, target_relation = load_cached_relation(this), this.incorporate(type=kind) -%}
    {{- run_hooks(pre_hooks) -}}
    {%- if existing is not none and existing.type != kind -%}{%- do adapter.drop_relation(existing) -%}{%- endif -%}
    {%- call statement('main') -%}
        create or replace {{ kind }} {{ target_relation }} as {{ code }}
    {%- endcall -%}
    {{ return({'relations': [target_relation]}) }}
{%- endmacro %}
