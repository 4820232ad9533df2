{{ config(materialized=kept_as(), mends_by=['int_restated_debts', 'account_id', 'debt_id']) }}
-- depends_on: {{ ref('int_restated_debts') }}
with debts as (
    select
        account_id,
        livemode,
        debt_id,
        invoice_id,
        {{ key('account_id', 'payment_intent_id') }} as intent_key,
        is_paid_later,
        recovered_by
    from {{ made_now('fct_failed_payments') }}
),

tries as (
    select
        account_id,
        debt_id,
        is_succeeded,
        called_at,
        lag(called_at) over (partition by case_id order by called_at, n) as called_before
    from {{ made_now('fct_attempts') }}
    where is_executed and not is_by_link
),

succeeded as (
    select
        intent_key,
        count(*) as successes,
        max(created_at) as last_at
    from ({{ part_of(ref('int_charges'), 's.intent_key in (select d.intent_key from debts as d)') }}) as c
    where status = 'succeeded' and is_captured and intent_key in (select d.intent_key from debts as d)
    group by intent_key
    having count(*) > 1
)

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'two successes of one payment intent' as finding,
    s.last_at as happened_at,
    s.successes as times_seen
from succeeded as s
inner join debts as d on s.intent_key = d.intent_key

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempt of ours after the debt was paid' as finding,
    t.called_at as happened_at,
    1 as times_seen
from tries as t
inner join debts as d on t.account_id = d.account_id and t.debt_id = d.debt_id
where t.is_succeeded and d.is_paid_later and d.recovered_by <> 'own_retry'

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempts less than an hour apart' as finding,
    t.called_at as happened_at,
    1 as times_seen
from tries as t
inner join debts as d on t.account_id = d.account_id and t.debt_id = d.debt_id
where t.called_at < t.called_before + {{ hours(1) }}

union all

select
    d.account_id,
    d.livemode,
    d.debt_id,
    'attempt of ours within two hours of a retry that Stripe had announced' as finding,
    t.called_at as happened_at,
    1 as times_seen
from tries as t
inner join debts as d on t.account_id = d.account_id and t.debt_id = d.debt_id
inner join {{ ref('int_retry_announcements') }} as s
    on
        d.account_id = s.account_id and d.invoice_id = s.invoice_id and s.announced_at <= t.called_at
        and t.called_at between s.next_payment_attempt_at - {{ hours(2) }} and s.next_payment_attempt_at + {{ hours(2) }}
