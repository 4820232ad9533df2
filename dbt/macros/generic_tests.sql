{#-
No two rows share these columns, and none of them is null: the table's grain. Rows are counted by a number made of the
columns, which takes a fraction of what the columns take; only what may be in breach is looked at itself. `read_lately`: rows are
looked at when they have just been read, and not all of them once more when all is built anew; the lake has one row of each.
-#}
{% test has_grain(model, columns, read_lately=false) %}
    {% if read_lately and not mends() %}
    select 1 as nothing where false
    {% else %}
    with suspects as (
        select suspect
        from (
            select
                {{ row_number_of(columns) }} as suspect,
                {% for column in columns %}{{ "or " if not loop.first }}{{ column }} is null {% endfor %} as has_gap
            from {{ model }}
        ) as numbered
        group by suspect
        having count(*) > 1 or bool_or(has_gap)
    )

    select {{ columns | join(', ') }}, count(*) as rows_found
    from {{ model }}
    where {{ row_number_of(columns) }} in (select s.suspect from suspects as s)
    group by {{ columns | join(', ') }}
    having count(*) > 1 {% for column in columns %} or {{ column }} is null {% endfor %}
    {% endif %}
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
