{{ config(materialized=kept_as(), mends_by=['int_touched_days', adapter.quote('day')]) }}
{%- set day = adapter.quote('day') -%}
{%- set of_touched_days = 'in (select t.' ~ day ~ ' from ' ~ ref('int_touched_days') ~ ' as t)' -%}
-- depends_on: {{ ref('int_touched_days') }}
with parts as (
    select
        account_id,
        livemode,
        currency,
        created_on as {{ day }},
        count(*) as first_attempt_count,
        {{ total('amount_minor') }} as first_attempt_amount_minor,
        0 as failed_first_attempt_count,
        0 as failed_first_attempt_amount_minor
    from {{ ref('int_charges') }}
    where status <> 'failed' {% if mends() %}and created_on {{ of_touched_days }}{% endif %}
    group by account_id, livemode, currency, created_on

    union all

    select
        account_id,
        livemode,
        currency,
        created_on as {{ day }},
        -count(*) as first_attempt_count,
        -{{ total('amount_minor') }} as first_attempt_amount_minor,
        0 as failed_first_attempt_count,
        0 as failed_first_attempt_amount_minor
    from {{ ref('int_later_charges') }}
    {% if mends() %}where created_on {{ of_touched_days }}{% endif %}
    group by account_id, livemode, currency, created_on

    union all

    select
        account_id,
        livemode,
        currency,
        first_failed_on as {{ day }},
        count(*) as first_attempt_count,
        {{ total('failed_amount_minor') }} as first_attempt_amount_minor,
        count(*) as failed_first_attempt_count,
        {{ total('failed_amount_minor') }} as failed_first_attempt_amount_minor
    from {{ ref('fct_failed_payments') }}
    {% if mends() %}where first_failed_on {{ of_touched_days }}{% endif %}
    group by account_id, livemode, currency, first_failed_on
)

select
    account_id,
    livemode,
    currency,
    {{ day }},
    cast(sum(first_attempt_count) as bigint) as first_attempt_count,
    {{ total('first_attempt_amount_minor') }} as first_attempt_amount_minor,
    cast(sum(failed_first_attempt_count) as bigint) as failed_first_attempt_count,
    {{ total('failed_first_attempt_amount_minor') }} as failed_first_attempt_amount_minor
from parts
group by account_id, livemode, currency, {{ day }}
having sum(first_attempt_count) > 0
