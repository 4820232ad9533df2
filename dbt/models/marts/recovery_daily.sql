{%- set of_charges = ['first_attempt_count', 'first_attempt_amount_minor', 'failed_first_attempt_count',
    'failed_first_attempt_amount_minor', 'recovered_of_day_count', 'recovered_of_day_amount_minor'] -%}
{%- set of_recovery = ['cash_count', 'cash_amount_minor', 'cash_own_retry_amount_minor', 'cash_stripe_retry_amount_minor',
    'cash_after_mail_amount_minor', 'cash_customer_amount_minor', 'cash_other_amount_minor',
    'executed_attempts', 'succeeded_attempts', 'messages_sent'] -%}
{%- set day = adapter.quote('day') -%}

with parts as (
    select
        account_id,
        livemode,
        currency,
        {{ day }}
        {%- for name in of_charges + of_recovery %},
        {{ name if name in of_charges else '0' }} as {{ name }}
        {%- endfor %}
    from {{ ref('int_first_attempts') }}
    where first_attempt_count > 0

    union all

    select
        account_id,
        livemode,
        currency,
        {{ day }}
        {%- for name in of_charges + of_recovery %},
        {{ name if name in of_recovery else '0' }} as {{ name }}
        {%- endfor %}
    from {{ ref('int_recovery_days') }}
)

select
    account_id,
    livemode,
    currency,
    {{ day }},
    {%- for name in of_charges + of_recovery %}
    {{ total(name) }} as {{ name }},
    {%- endfor %}
    {{ rate(total('failed_first_attempt_count'), total('first_attempt_count')) }} as failure_rate_count,
    {{ rate(total('failed_first_attempt_amount_minor'), total('first_attempt_amount_minor')) }} as failure_rate_amount
from parts
group by account_id, livemode, currency, {{ day }}
order by {{ day }}, account_id, livemode, currency
