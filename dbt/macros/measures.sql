{#- A share as a number between 0 and 1; null where there is nothing to divide by. -#}
{% macro rate(numerator, denominator) -%}
    {{ numerator }}::double / nullif({{ denominator }}, 0)
{%- endmacro %}


{#- An amount summed up in minor units; 0 and not null where there is no row. -#}
{% macro total(expression, condition=none) -%}
    coalesce(sum({{ expression }}){% if condition %} filter (where {{ condition }}){% endif %}, 0)::bigint
{%- endmacro %}


{#- The one definition of failed, recovered and closed, for every table made of recovery_debts. -#}
{% macro recovery_measures() -%}
    {%- set failed_amount = total('failed_amount_minor') -%}
    {%- set recovered_amount = total('recovered_amount_minor') -%}
    {%- set closed_amount = total('failed_amount_minor', 'is_closed') -%}
    count(*) as failed_count,
    {{ failed_amount }} as failed_amount_minor,
    count(*) filter (where is_recovered) as recovered_count,
    {{ recovered_amount }} as recovered_amount_minor,
    count(*) filter (where is_closed) as closed_count,
    {{ closed_amount }} as closed_amount_minor,
    {{ rate('recovered_count', 'failed_count') }} as recovery_rate_count,
    {{ rate(recovered_amount, failed_amount) }} as recovery_rate_amount,
    {{ rate('recovered_count', 'closed_count') }} as recovery_rate_closed_count,
    {{ rate(recovered_amount, closed_amount) }} as recovery_rate_closed_amount
{%- endmacro %}
