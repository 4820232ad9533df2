{#-
Where DuckDB and Spark say the same thing in different words. Everything else in the project is written in what both
understand: cast() and not ::, min_by, explicit GROUP BY, subqueries and not QUALIFY.
-#}

{% macro hours(number) -%}
    {{ return(adapter.dispatch('hours', 'tinko')(number)) }}
{%- endmacro %}
{% macro default__hours(number) -%}to_hours(cast({{ number }} as integer)){%- endmacro %}
{% macro spark__hours(number) -%}make_dt_interval(0, cast({{ number }} as int), 0, 0){%- endmacro %}

{% macro days(number) -%}{{ hours('24 * ' ~ number) }}{%- endmacro %}

{#- Days, with fractions, from one moment to a later one; both to the microsecond. -#}
{% macro days_between(earlier, later) -%}
    {{ return(adapter.dispatch('days_between', 'tinko')(earlier, later)) }}
{%- endmacro %}
{% macro default__days_between(earlier, later) -%}
    (epoch_us({{ later }}) - epoch_us({{ earlier }})) / cast(86400000000 as double)
{%- endmacro %}
{% macro spark__days_between(earlier, later) -%}
    (unix_micros({{ later }}) - unix_micros({{ earlier }})) / cast(86400000000 as double)
{%- endmacro %}

{#- Whole days from one date to a later one. -#}
{% macro date_gap(earlier, later) -%}
    {{ return(adapter.dispatch('date_gap', 'tinko')(earlier, later)) }}
{%- endmacro %}
{% macro default__date_gap(earlier, later) -%}cast({{ later }} - {{ earlier }} as integer){%- endmacro %}
{% macro spark__date_gap(earlier, later) -%}datediff({{ later }}, {{ earlier }}){%- endmacro %}

{#- A moment as UTC's clock shows it. The session is in UTC, but a moment with a zone costs a look at the calendar of zones for each row. -#}
{% macro in_utc(moment) -%}{{ moment if target.type == 'spark' else 'make_timestamp(epoch_us(' ~ moment ~ '))' }}{%- endmacro %}
{% macro day_of(moment) -%}cast({{ in_utc(moment) }} as date){%- endmacro %}
{% macro month_of(moment) -%}cast(date_trunc('month', {{ in_utc(moment) }}) as date){%- endmacro %}
{% macro hour_of(moment) -%}cast(extract(hour from {{ in_utc(moment) }}) as integer){%- endmacro %}

{#- One row for each whole number from `first` to `last`, both included, in a column `name`. -#}
{% macro numbers(first, last, name) -%}
    {{ return(adapter.dispatch('numbers', 'tinko')(first, last, name)) }}
{%- endmacro %}
{% macro default__numbers(first, last, name) -%}
    select cast(unnest(range({{ first }}, {{ last }} + 1)) as integer) as {{ name }}
{%- endmacro %}
{% macro spark__numbers(first, last, name) -%}
    select explode(sequence({{ first }}, {{ last }})) as {{ name }}
{%- endmacro %}

{#- One text of a JSON object, null where it is not there. -#}
{% macro json_text(column, key) -%}
    {{ return(adapter.dispatch('json_text', 'tinko')(column, key)) }}
{%- endmacro %}
{% macro default__json_text(column, key) -%}json_extract_string({{ column }}, '$.{{ key }}'){%- endmacro %}
{% macro spark__json_text(column, key) -%}get_json_object({{ column }}, '$.{{ key }}'){%- endmacro %}

{#- A JSON list of texts (numbers become texts), as a list; empty where it is not there. -#}
{% macro json_list(column, key) -%}
    {{ return(adapter.dispatch('json_list', 'tinko')(column, key)) }}
{%- endmacro %}
{% macro default__json_list(column, key) -%}
    coalesce(json_extract_string({{ column }}, '$.{{ key }}[*]'), cast([] as varchar[]))
{%- endmacro %}
{% macro spark__json_list(column, key) -%}
    coalesce(from_json(get_json_object({{ column }}, '$.{{ key }}'), 'array<string>'), array())
{%- endmacro %}

{#- The n-th of a list, counted from 1, null beyond its end. -#}
{% macro nth_of(list, n) -%}
    {{ return(adapter.dispatch('nth_of', 'tinko')(list, n)) }}
{%- endmacro %}
{% macro default__nth_of(list, n) -%}list_extract({{ list }}, cast({{ n }} as bigint)){%- endmacro %}
{% macro spark__nth_of(list, n) -%}try_element_at({{ list }}, cast({{ n }} as int)){%- endmacro %}

{% macro length_of(list) -%}
    {{ return(adapter.dispatch('length_of', 'tinko')(list)) }}
{%- endmacro %}
{% macro default__length_of(list) -%}len({{ list }}){%- endmacro %}
{% macro spark__length_of(list) -%}size({{ list }}){%- endmacro %}

{#- The type of a moment; of a text. -#}
{% macro moment_type() -%}{{ 'timestamp' if target.type == 'spark' else 'timestamptz' }}{%- endmacro %}
{% macro text_type() -%}{{ 'string' if target.type == 'spark' else 'varchar' }}{%- endmacro %}

{#- The day of the week, 1 for Monday to 7 for Sunday. -#}
{% macro weekday(moment) -%}
    {{ return(adapter.dispatch('weekday', 'tinko')(moment)) }}
{%- endmacro %}
{% macro default__weekday(moment) -%}cast(extract(isodow from {{ in_utc(moment) }}) as integer){%- endmacro %}
{% macro spark__weekday(moment) -%}(weekday({{ moment }}) + 1){%- endmacro %}

{#-
A number for an object of an account, null where it has no id: a few among millions are found sooner by numbers than by
texts. Of ten million objects two have the same number with a chance of one in 370,000.
-#}
{% macro key(account, id) -%}
    {{ return(adapter.dispatch('key', 'tinko')(account, id)) }}
{%- endmacro %}
{% macro default__key(account, id) -%}case when {{ id }} is not null then hash({{ account }}, {{ id }}) end{%- endmacro %}
{% macro spark__key(account, id) -%}case when {{ id }} is not null then xxhash64({{ account }}, {{ id }}) end{%- endmacro %}

{#- A number for some columns of a row together. -#}
{% macro row_number_of(columns) -%}{{ 'xxhash64' if target.type == 'spark' else 'hash' }}({{ columns | join(', ') }}){%- endmacro %}

{#- Where in its file a row lies, counted from 0; null on Spark, which asks for no excerpts. -#}
{% macro row_in_file() -%}{{ 'cast(null as bigint)' if target.type == 'spark' else 'file_row_number' }}{%- endmacro %}

{#- The file of the lake that a row was read from, below `tables`. -#}
{% macro file_read() -%}
    {{ return(adapter.dispatch('file_read', 'tinko')()) }}
{%- endmacro %}
{% macro default__file_read() -%}split_part(filename, '/tables/', -1){%- endmacro %}
{% macro spark__file_read() -%}substring_index(input_file_name(), '/tables/', -1){%- endmacro %}
