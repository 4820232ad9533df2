-- depends_on: {{ ref('int_restated_debts') }} {{ ref('int_cases') }} {{ ref('fct_failed_payments') }} {{ ref('stg_clock') }}
{% if mends() %}
select {{ month_of('failed_at_before') }} as cohort_month from {{ ref('int_restated_debts') }} where failed_at_before is not null
union
select cohort_month from {{ made_now('fct_failed_payments') }}
union
-- Of what we did for a debt that is no failed payment, or was none.
select {{ month_of('created_at') }} from {{ ref('int_cases') }}
union
-- Months that may have become mature: what is mended is at most seven days old.
select cohort_month from {{ ref('fct_failed_payments') }}
where first_failed_at >= (select c.as_of from {{ ref('stg_clock') }} as c) - {{ days(var('mature_days') + 31) }}
{% else %}
select {{ month_of('failed_at_before') }} as cohort_month from {{ ref('int_restated_debts') }} where false
{% endif %}
