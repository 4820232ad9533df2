{#- A share as a number; null where there is nothing to divide by. -#}
{% macro rate(numerator, denominator) -%}
    cast({{ numerator }} as double) / nullif({{ denominator }}, 0)
{%- endmacro %}


{#- An amount summed up in minor units; 0 and not null where there is no row. -#}
{% macro total(expression, condition=none) -%}
    cast(coalesce(sum({{ expression }}){% if condition %} filter (where {{ condition }}){% endif %}, 0) as bigint)
{%- endmacro %}


{% macro tally(condition=none) -%}
    count(*){% if condition %} filter (where {{ condition }}){% endif %}
{%- endmacro %}


{#-
A metric as it is defined in models/semantic, as SQL over the rows of its own table. Marts have no definition of
their own, so that they, the report, the command line and MetricFlow cannot disagree.
-#}
{% macro metric(name) -%}
    {%- if not execute -%}
        0
    {%- else -%}
        {%- set found = graph.metrics['metric.' ~ project_name ~ '.' ~ name] -%}
        {%- if found.type == 'ratio' -%}
            {{ rate(metric(found.type_params.numerator.name), metric(found.type_params.denominator.name)) }}
        {%- else -%}
            {{ measure(found.type_params.measure.name) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro measure(name) -%}
    {%- for model in graph.semantic_models.values() -%}
        {%- for one in model.measures if one.name == name -%}
            {%- if one.agg == 'sum' -%}
                {{ total(one.expr) }}
            {%- else -%}
                {{ exceptions.raise_compiler_error('measure ' ~ name ~ ': only sums are written for marts, not ' ~ one.agg) }}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}


{#- Columns of a mart, one for each named metric. -#}
{% macro metrics(names) -%}
    {%- for name in names %}
    {{ metric(name) }} as {{ name }}{{ "," if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- What every table of recovery rates shows, in its order. -#}
{% macro recovery_metrics() -%}
    {{ metrics([
        'failed_count', 'failed_amount_minor', 'recovered_count', 'recovered_amount_minor', 'closed_count',
        'closed_amount_minor', 'lost_count', 'lost_amount_minor', 'recovery_rate_count', 'recovery_rate_amount',
        'recovery_rate_closed_count', 'recovery_rate_closed_amount',
    ]) }}
{%- endmacro %}


{#- The columns of one part of a union: what it has, and 0 for what only the others have. -#}
{% macro filled_columns(names, found) -%}
    {%- for name in names %}
        {{ found.get(name, '0') }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- What the table `metrics` holds, read from models/semantic: a SELECT for each metric. -#}
{% macro metric_rows() -%}
    {%- set names = ['metric', 'label', 'description', 'unit', 'numerator', 'denominator', 'summed', 'made_of', 'dimensions'] -%}
    {%- set rows = [] -%}
    {%- set known = graph.metrics.values() if execute else [] -%}
    {%- for one in known | sort(attribute='name') -%}
        {%- set is_ratio = one.type == 'ratio' -%}
        {%- set leaf = graph.metrics['metric.' ~ project_name ~ '.' ~ (one.type_params.numerator.name if is_ratio else one.name)] -%}
        {%- for model in graph.semantic_models.values() -%}
            {%- for measured in model.measures if measured.name == leaf.type_params.measure.name -%}
                {%- set dimensions = [] -%}
                {%- for dimension in model.dimensions -%}
                    {%- do dimensions.append(dimension.expr or dimension.name) -%}
                {%- endfor -%}
                {%- do rows.append([
                    one.name,
                    one.label,
                    one.description,
                    ('times' if one.name.endswith('_per_recovery') else 'share') if is_ratio else ('minor units' if one.name.endswith('_minor') else 'count'),
                    one.type_params.numerator.name if is_ratio else none,
                    one.type_params.denominator.name if is_ratio else none,
                    none if is_ratio else measured.expr,
                    model.model.split("'")[1],
                    dimensions | join(','),
                ]) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for row in rows or [names] %}
    select
        {%- for value in row %}
        {{ "'" ~ (value | replace("'", "''")) ~ "'" if value is not none else 'cast(null as ' ~ text_type() ~ ')' }} as {{ names[loop.index0] }}{{ ',' if not loop.last }}
        {%- endfor %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- A sum to twelve digits; of decimals, since a sum of doubles depends on the order of the rows. -#}
{% macro exact_sum(expression) -%}
    sum(cast({{ expression }} as decimal(38, 12)))
{%- endmacro %}


{#- A mean to twelve digits. -#}
{% macro mean(expression) -%}
    {{ rate(exact_sum(expression), 'count(' ~ expression ~ ')') }}
{%- endmacro %}
