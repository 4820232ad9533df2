{#-
How a build mends the last one. The kept tables hold what was built; a build that mends finds what its sources have that
they had not, makes exactly that anew, and puts it in the place of the old. A whole build (`--full-refresh`) makes every
table from all there is, by the same SQL without the conditions below; so does Spark always.
-#}

{#- How a table is kept from build to build. -#}
{% macro kept_as() -%}{{ return('table' if target.type == 'spark' else 'incremental') }}{%- endmacro %}

{#- Whether this build mends the last one. -#}
{% macro mends() -%}
    {{ return(execute and not flags.FULL_REFRESH and target.type != 'spark'
        and load_relation(as_built('build_info')) is not none) }}
{%- endmacro %}

{#- A table as it stands, without waiting for it to be built: what the last build made, for who comes before it. -#}
{% macro as_built(name) -%}
    {%- set node = graph.nodes['model.' ~ project_name ~ '.' ~ name] -%}
    {{ return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) }}
{%- endmacro %}

{#- The rows of a kept table that a build which mends made anew, beside the tables that say which those are (dbt makes the schema for them). -#}
{% macro made_anew(name) -%}
    {%- set kept = as_built(name) -%}
    {{ return(api.Relation.create(database=kept.database, schema='anew', identifier=kept.identifier)) }}
{%- endmacro %}

{#- Of a kept table what this build made: all of it, or what was made anew. -#}
{% macro made_now(name) -%}{{ made_anew(name) if mends() else ref(name) }}{%- endmacro %}

{#-
How a kept table is mended: what `mends_by` names goes, what was made anew comes. `mends_by` is a list: a table of the last
steps, and the columns both have; or `changed_files`, for what is kept by file of the lake. `mends_within` may name a table and a
column of it that has all that a column of the kept one, the third, is in the rows that go: a moment, a day or a month, by which
rows are found sooner.
-#}
{% macro mended(kept, made) -%}
    {%- set by = config.get('mends_by') -%}
    {%- set touched, within = as_built(by[0]), config.get('mends_within') -%}
    delete from {{ kept }}
    where
        {% if within %}{{ within[2] }} in (select {{ within[1] }} from {{ as_built(within[0]) }} where {{ within[1] }} is not null) and {% endif -%}
        ({{ by[1:] | join(', ') }}) in (select {{ by[1:] | join(', ') }} from {{ touched }});
    insert into {{ kept }} by name select * from {{ made }}
{%- endmacro %}

{#-
Where little is made anew each model has one thread: to share so little among several costs more than it brings. And what is
written goes into the tables' own blocks once, when all is done, and not in between as well.
-#}
{% macro as_little_is_made() -%}
    {{ "set threads = 1; set checkpoint_threshold = '1GB'" if mends() }}
{%- endmacro %}

{#- The condition that a row is of a debt that a build which mends makes anew. -#}
{% macro is_restated(alias) -%}
    ({{ alias }}.account_id, {{ alias }}.debt_id) in (select r.account_id, r.debt_id from {{ ref('int_restated_debts') }} as r)
{%- endmacro %}

{#- The condition that a row is of a month, by first failure, of which a build that mends makes the sums anew. -#}
{% macro is_of_touched_month() -%}
    {{ 'cohort_month in (select t.cohort_month from ' ~ ref('int_touched_months') ~ ' as t)' if mends() else 'true' }}
{%- endmacro %}

{#- How an excerpt is kept: a build of everything reads its source through it, one that mends holds what it is about. -#}
{% macro excerpt_as() -%}{{ return('view' if target.type == 'spark' else 'excerpt') }}{%- endmacro %}

{#-
All of a table; in a build that mends, the rows that meet a condition on `s`. They are found by the columns of the condition alone,
and then read by where they lie: rows of one time lie together, and the rest is not opened.
-#}
{% macro part_of(table, condition, place='rowid') -%}
    select * from {{ table }}
    {%- if mends() %}
    where {{ place }} in (select s.{{ place }} from {{ table }} as s where {{ condition }})
    {%- endif %}
{%- endmacro %}

{#- The same of a staged table of the ledger, or of a derived one. -#}
{% macro excerpt_of(staged, condition) -%}{{ part_of(staged, condition, 'row_in_file') }}{%- endmacro %}

{#- Rows of the ledger or of a derived table that changed since the last build. -#}
{% macro is_news(table, alias) -%}
    {{ alias }}.changed_at > coalesce(
        (select s.changed_at from {{ source('build', 'since') }} as s where s.table_name = '{{ table }}'),
        cast('1970-01-01' as {{ moment_type() }})
    )
{%- endmacro %}

{#- What differs between rows just read and those kept of the same files, both ways: the named columns of either. -#}
{% macro differing(columns, staged, kept) -%}
    (select {{ columns }} from {{ staged }} except select {{ columns }} from {{ kept }} where file in (select c.file from {{ ref('int_changed_files') }} as c))
    union all
    (select {{ columns }} from {{ kept }} where file in (select c.file from {{ ref('int_changed_files') }} as c) except select {{ columns }} from {{ staged }})
{%- endmacro %}

{#-
What a generic test looks at: the table, and in a build that mends of a kept table what was made anew, of the ledger's what
is news. What was made anew took the place of all that had its keys, so that nothing can stand twice.
-#}
{% macro get_where_subquery(relation) -%}
    {%- set node = graph.nodes.get('model.' ~ project_name ~ '.' ~ relation.identifier) if execute else none -%}
    {%- if not node or not mends() -%}
        {{ return(relation) }}
    {%- elif node.config.get('mends_by') -%}
        {{ return(made_anew(relation.identifier)) }}
    {%- elif node.sources and 'changed_at' in node.columns -%}
        {{ return('(select * from ' ~ relation ~ ' as n where ' ~ is_news(node.sources[0][1], 'n') ~ ') as news') }}
    {%- else -%}
        {{ return(relation) }}
    {%- endif -%}
{%- endmacro %}
