{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
{%- set reasons = ['own_retry', 'stripe_retry', 'after_mail', 'customer', 'other'] -%}
{%- set parts = ['cash_count', 'cash_amount_minor', 'cash_own_retry_amount_minor', 'cash_stripe_retry_amount_minor',
    'cash_after_mail_amount_minor', 'cash_customer_amount_minor', 'cash_other_amount_minor',
    'executed_attempts', 'succeeded_attempts', 'messages_sent'] -%}
{%- set day = adapter.quote('day') -%}
-- depends_on: {{ ref('int_touched_months') }}
with parts as (
    select
        account_id,
        livemode,
        currency,
        cohort_month,
        {{ day_of('recovered_at') }} as {{ day }},
        {%- set cash = {'cash_count': metric('recovered_count'), 'cash_amount_minor': metric('recovered_amount_minor')} %}
        {%- for reason in reasons %}
            {%- do cash.update({'cash_' ~ reason ~ '_amount_minor':
                total('recovered_amount_minor', "recovered_by = '" ~ reason ~ "'")}) %}
        {%- endfor %}
        {{- filled_columns(parts, cash) }}
    from {{ ref('fct_failed_payments') }}
    where is_recovered and {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month, {{ day_of('recovered_at') }}

    union all

    select
        account_id,
        livemode,
        currency,
        cohort_month,
        {{ day_of('called_at') }} as {{ day }},
        {{- filled_columns(parts, {'executed_attempts': metric('executed_count'), 'succeeded_attempts': metric('succeeded_count')}) }}
    from {{ ref('fct_attempts') }}
    where is_executed and not is_by_link and called_at is not null and {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month, {{ day_of('called_at') }}

    union all

    select
        account_id,
        livemode,
        currency,
        cohort_month,
        {{ day_of('sent_at') }} as {{ day }},
        {{- filled_columns(parts, {'messages_sent': metric('sent_count')}) }}
    from {{ ref('fct_messages') }}
    where is_sent and currency is not null and {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month, {{ day_of('sent_at') }}
)

select
    account_id,
    livemode,
    currency,
    cohort_month,
    {{ day }}
    {%- for name in parts %},
    {{ total(name) }} as {{ name }}
    {%- endfor %}
from parts
group by account_id, livemode, currency, cohort_month, {{ day }}
