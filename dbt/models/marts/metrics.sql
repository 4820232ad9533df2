{%- set quoted = [] -%}
{%- if execute -%}
    {%- for one in graph.metrics.values() | sort(attribute='name') -%}
        {%- set leaf = one.type_params.numerator.name if one.type == 'ratio' else one.name -%}
        {%- set found = graph.metrics['metric.' ~ project_name ~ '.' ~ leaf] -%}
        {%- for model in graph.semantic_models.values() -%}
            {%- set dimensions = [] -%}
            {%- for dimension in model.dimensions -%}
                {%- do dimensions.append(dimension.expr or dimension.name) -%}
            {%- endfor -%}
            {%- for measured in model.measures if measured.name == found.type_params.measure.name -%}
                {%- do quoted.append([
                    one.name,
                    one.label,
                    one.description,
                    'share' if one.type == 'ratio' else ('minor units' if one.name.endswith('_minor') else 'count'),
                    one.type_params.numerator.name if one.type == 'ratio' else '',
                    one.type_params.denominator.name if one.type == 'ratio' else '',
                    '' if one.type == 'ratio' else measured.expr,
                    model.model.split("'")[1],
                    dimensions | join(','),
                ]) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endif -%}
{%- set names = ['metric', 'label', 'description', 'unit', 'numerator', 'denominator', 'summed', 'made_of', 'dimensions'] -%}

select
    {%- for name in names %}
    cast(nullif({{ name }}, '') as {{ text_type() }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from (
    {%- for row in quoted or [['none'] * 9] %}
    select
        {%- for value in row %}
        '{{ (value or '') | replace("'", "''") }}' as {{ names[loop.index0] }}{{ ',' if not loop.last }}
        {%- endfor %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
) as found
