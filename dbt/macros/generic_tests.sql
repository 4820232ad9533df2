{#- No two rows share these columns, and none of them is null: the table's grain. -#}
{% test has_grain(model, columns) %}
    select {{ columns | join(', ') }}, count(*) as rows_found
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1 {% for column in columns %} or {{ column }} is null {% endfor %}
{% endtest %}


{#- Every value is a share: between 0 and 1, or null where the denominator is 0. One query for all columns. -#}
{% test are_shares(model, columns) %}
    select * from {{ model }}
    where {% for column in columns %}
        {{ "or " if not loop.first }}{{ column }} < 0 or {{ column }} > 1 or isnan({{ column }})
    {% endfor %}
{% endtest %}


{#- None of the columns is ever null: one query for all of them. -#}
{% test never_null(model, columns) %}
    select * from {{ model }} where {% for column in columns %}{{ "or " if not loop.first }}{{ column }} is null {% endfor %}
{% endtest %}


{#- The condition holds for every row; a null counts as a breach. -#}
{% test holds(model, condition) %}
    select * from {{ model }} where not coalesce({{ condition }}, false)
{% endtest %}
