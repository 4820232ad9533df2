{{ config(materialized=kept_as(), mends_by=['int_restated_debts', 'account_id', 'debt_id']) }}
{%- set restated = ref('int_restated_debts') -%}
with succeeded as (
    select
        intent_key,
        count(*) as successes,
        max(created_at) as last_at
    from {{ ref('int_charges') }}
    where
        status = 'succeeded' and is_captured
        and intent_key in (select {{ key('f.account_id', 'f.payment_intent_id') }} from {{ ref('fct_failed_payments') }} as f {{ if_restated('f.account_id', 'f.debt_id', restated) }})
    group by intent_key
    having count(*) > 1
),

close_together as (
    select
        account_id,
        debt_id,
        called_at,
        lag(called_at) over (partition by case_id order by called_at, n) as called_before
    from {{ ref('fct_attempts') }}
    where is_executed and not is_by_link {{ if_restated('account_id', 'debt_id', restated, 'and') }}
)

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'two successes of one payment intent' as finding,
    s.last_at as happened_at,
    s.successes as times_seen
from succeeded as s
inner join {{ ref('fct_failed_payments') }} as d
    on s.intent_key = {{ key('d.account_id', 'd.payment_intent_id') }}
{{ if_restated('d.account_id', 'd.debt_id', restated) }}

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempt of ours after the debt was paid' as finding,
    a.called_at as happened_at,
    1 as times_seen
from {{ ref('fct_attempts') }} as a
inner join {{ ref('fct_failed_payments') }} as d on a.account_id = d.account_id and a.debt_id = d.debt_id
where a.is_succeeded and d.is_paid_later and d.recovered_by <> 'own_retry' and not a.is_by_link
    {{ if_restated('d.account_id', 'd.debt_id', restated, 'and') }}

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempts less than an hour apart' as finding,
    t.called_at as happened_at,
    1 as times_seen
from close_together as t
inner join {{ ref('fct_failed_payments') }} as d on t.account_id = d.account_id and t.debt_id = d.debt_id
where
    t.called_at < t.called_before + {{ hours(1) }}
    {{ if_restated('d.account_id', 'd.debt_id', restated, 'and') }}

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempt of ours within two hours of a retry that Stripe had announced' as finding,
    a.called_at as happened_at,
    1 as times_seen
from {{ ref('fct_attempts') }} as a
inner join {{ ref('fct_failed_payments') }} as d on a.account_id = d.account_id and a.debt_id = d.debt_id
inner join {{ ref('int_retry_announcements') }} as s
    on
        d.account_id = s.account_id and d.invoice_id = s.invoice_id and s.announced_at <= a.called_at
        and a.called_at between s.next_payment_attempt_at - {{ hours(2) }} and s.next_payment_attempt_at + {{ hours(2) }}
where a.is_executed and not a.is_by_link
    {{ if_restated('d.account_id', 'd.debt_id', restated, 'and') }}
