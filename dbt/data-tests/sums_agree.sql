-- Every table counts the same debts, to the minor unit of each currency: failed as staged, recovered as in the facts.
with truth as (
    select
        account_id,
        livemode,
        currency,
        count(*) as failed_count,
        {{ total('failed_amount_minor') }} as failed_minor,
        count(*) filter (where is_recovered) as recovered_count,
        {{ total('recovered_amount_minor') }} as recovered_minor
    from {{ ref('fct_failed_payments') }}
    group by account_id, livemode, currency
),

figures as (
    {% for table in ['recovery_cohorts', 'recovery_by_category', 'recovery_by_decline_code'] %}
    select
        '{{ table }}' as made_in,
        account_id,
        livemode,
        currency,
        sum(failed_count) as failed_count,
        sum(failed_amount_minor) as failed_minor,
        sum(recovered_count) as recovered_count,
        sum(recovered_amount_minor) as recovered_minor
    from {{ ref(table) }}
    group by account_id, livemode, currency
    union all
    {% endfor %}
    {% for recovered in ['recovered_of_day', 'cash'] %}
    select
        'recovery_daily, {{ recovered }}' as made_in,
        account_id,
        livemode,
        currency,
        sum(failed_first_attempt_count) as failed_count,
        sum(failed_first_attempt_amount_minor) as failed_minor,
        sum({{ recovered }}_count) as recovered_count,
        sum({{ recovered }}_amount_minor) as recovered_minor
    from {{ ref('recovery_daily') }}
    group by account_id, livemode, currency
    having sum(failed_first_attempt_count) > 0
    union all
    {% endfor %}
    select
        'staging' as made_in,
        s.account_id,
        s.livemode,
        s.currency,
        count(*) as failed_count,
        sum(s.amount_minor) as failed_minor,
        max(t.recovered_count) as recovered_count,
        max(t.recovered_minor) as recovered_minor
    from {{ ref('stg_failed_payments') }} as s
    left join truth as t on s.account_id = t.account_id and s.livemode = t.livemode and s.currency = t.currency
    group by s.account_id, s.livemode, s.currency
),

methods as (
    select
        account_id,
        livemode,
        currency,
        sum(recovered_count) as recovered_count,
        sum(recovered_amount_minor) as recovered_minor
    from {{ ref('recovery_by_method') }}
    group by account_id, livemode, currency
),

curves as (
    select
        account_id,
        livemode,
        max(failed_count) as failed_count
    from {{ ref('time_to_recover') }}
    where category = 'all'
    group by account_id, livemode
),

outcomes as (
    select
        account_id,
        livemode,
        sum(debts) as recovered_count
    from {{ ref('int_outcome_days') }}
    where fate = 'recovered'
    group by account_id, livemode
),

accounts as (
    select
        account_id,
        livemode,
        sum(failed_count) as failed_count,
        sum(recovered_count) as recovered_count
    from truth
    group by account_id, livemode
),

reasons as (
    select
        account_id,
        livemode,
        currency,
        sum(
            cash_own_retry_amount_minor + cash_stripe_retry_amount_minor + cash_after_mail_amount_minor
            + cash_customer_amount_minor + cash_other_amount_minor
        ) as recovered_minor
    from {{ ref('recovery_daily') }}
    group by account_id, livemode, currency
)

select
    coalesce(f.made_in, 'facts') as made_in,
    coalesce(f.account_id, t.account_id) as account_id,
    coalesce(f.currency, t.currency) as currency
from figures as f
full outer join truth as t on f.account_id = t.account_id and f.livemode = t.livemode and f.currency = t.currency
where
    t.failed_count is distinct from f.failed_count or t.failed_minor is distinct from f.failed_minor
    or t.recovered_count is distinct from f.recovered_count or t.recovered_minor is distinct from f.recovered_minor

union all

select
    'recovery_by_method' as made_in,
    t.account_id,
    t.currency
from truth as t
left join methods as m on t.account_id = m.account_id and t.livemode = m.livemode and t.currency = m.currency
where t.recovered_count <> coalesce(m.recovered_count, 0) or t.recovered_minor <> coalesce(m.recovered_minor, 0)

union all

select
    'recovery_daily, reasons' as made_in,
    t.account_id,
    t.currency
from truth as t
left join reasons as r on t.account_id = r.account_id and t.livemode = r.livemode and t.currency = r.currency
where t.recovered_minor <> coalesce(r.recovered_minor, 0)

union all

select
    'time_to_recover' as made_in,
    a.account_id,
    null as currency
from accounts as a
left join curves as c on a.account_id = c.account_id and a.livemode = c.livemode
left join outcomes as o on a.account_id = o.account_id and a.livemode = o.livemode
where a.failed_count is distinct from c.failed_count or a.recovered_count <> coalesce(o.recovered_count, 0)
