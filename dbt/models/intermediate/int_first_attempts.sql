{%- set day = adapter.quote('day') -%}
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
    where status <> 'failed'
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
    group by account_id, livemode, currency, created_on

    union all

    select
        account_id,
        livemode,
        currency,
        cast(first_failed_at as date) as {{ day }},
        count(*) as first_attempt_count,
        {{ total('amount_minor') }} as first_attempt_amount_minor,
        count(*) as failed_first_attempt_count,
        {{ total('amount_minor') }} as failed_first_attempt_amount_minor
    from {{ ref('stg_failed_payments') }}
    group by account_id, livemode, currency, cast(first_failed_at as date)
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
