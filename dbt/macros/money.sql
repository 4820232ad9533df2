{#- Minor units in one unit of the currency: 1, 1000 or 100. Held to the Python side by a test. -#}
{% macro minor_per_unit(currency) -%}
    case
        when {{ currency }} in (
            'bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd', 'vuv', 'xaf', 'xof', 'xpf'
        ) then 1
        when {{ currency }} in ('bhd', 'jod', 'kwd', 'omr', 'tnd') then 1000
        else 100
    end
{%- endmacro %}


{#- A band of amounts in whole units of the row's own currency; bands of two currencies are not comparable. -#}
{% macro amount_band(amount_minor, currency) -%}
    case
        {%- for below, name in [(10, '1: below 10'), (50, '2: 10 to 50'), (200, '3: 50 to 200'), (1000, '4: 200 to 1000')] %}
        when {{ amount_minor }} < {{ below }} * {{ minor_per_unit(currency) }} then '{{ name }}'
        {%- endfor %}
        else '5: 1000 and more'
    end
{%- endmacro %}
