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
        count(*) filter (where status <> 'failed') as first_attempt_count,
        {{ total('amount_minor', "status <> 'failed'") }} as first_attempt_amount_minor,
        0 as failed_first_attempt_count,
        0 as failed_first_attempt_amount_minor,
        0 as recovered_of_day_count,
        0 as recovered_of_day_amount_minor,
        count(*) as charge_count,
        max(created_at) as newest_charge_at
    from {{ ref('int_charges') }}
    {% if mends() %}where created_on {{ of_touched_days }}{% endif %}
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
        0 as failed_first_attempt_amount_minor,
        0 as recovered_of_day_count,
        0 as recovered_of_day_amount_minor,
        0 as charge_count,
        cast(null as {{ moment_type() }}) as newest_charge_at
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
        {{ total('failed_amount_minor') }} as failed_first_attempt_amount_minor,
        {{ metric('recovered_count') }} as recovered_of_day_count,
        {{ metric('recovered_amount_minor') }} as recovered_of_day_amount_minor,
        0 as charge_count,
        cast(null as {{ moment_type() }}) as newest_charge_at
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
    {{ total('failed_first_attempt_amount_minor') }} as failed_first_attempt_amount_minor,
    {{ total('recovered_of_day_count') }} as recovered_of_day_count,
    {{ total('recovered_of_day_amount_minor') }} as recovered_of_day_amount_minor,
    {{ total('charge_count') }} as charge_count,
    max(newest_charge_at) as newest_charge_at
from parts
group by account_id, livemode, currency, {{ day }}
having sum(first_attempt_count) > 0 or sum(charge_count) > 0
