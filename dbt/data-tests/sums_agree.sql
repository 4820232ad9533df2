-- Every table counts the same debts: failed as staged, recovered as in recovery_debts, by account and currency.
with figures as (
    {% for table in ['recovery_by_cohort', 'recovery_by_category', 'recovery_by_code', 'recovery_summary'] %}
    select
        '{{ table }}' as made_in, account_id, livemode, currency, sum(failed_count) as failed_count,
        sum(failed_amount_minor) as failed_minor, sum(recovered_count) as recovered_count,
        sum(recovered_amount_minor) as recovered_minor
    from {{ ref(table) }}
    group by all
    union all
    {% endfor %}
    select
        'recovery_debts', account_id, livemode, currency, count(*), sum(failed_amount_minor),
        count(*) filter (where is_recovered), sum(recovered_amount_minor)
    from {{ ref('recovery_debts') }}
    group by all
),

recoveries as (
    select 'recovery_by_reason' as made_in, account_id, livemode, currency, sum(recovered_count) as recovered_count,
        sum(recovered_amount_minor) as recovered_minor
    from {{ ref('recovery_by_reason') }}
    group by all
    union all
    select 'cash_by_day', account_id, livemode, currency, sum(recovered_count), sum(recovered_amount_minor)
    from {{ ref('cash_by_day') }}
    group by all
    union all
    select 'cash_by_day, reasons', account_id, livemode, currency, sum(recovered_count),
        sum(own_retry_amount_minor + stripe_retry_amount_minor + after_mail_amount_minor + customer_amount_minor
            + other_amount_minor)
    from {{ ref('cash_by_day') }}
    group by all
),

failures as (
    select account_id, livemode, currency, sum(failed_first_attempt_count) as failed_count,
        sum(failed_first_attempt_amount_minor) as failed_minor
    from {{ ref('payments_by_day') }}
    group by all
),

staged as (
    select account_id, livemode, currency, count(*) as failed_count, sum(amount_minor) as failed_minor
    from {{ ref('stg_failed_payments') }}
    group by all
),

truth as (
    select * from figures where made_in = 'recovery_debts'
)

select f.made_in, f.account_id, f.currency
from figures as f
full join staged as s on s.account_id = f.account_id and s.livemode = f.livemode and s.currency = f.currency
left join truth as t on t.account_id = f.account_id and t.livemode = f.livemode and t.currency = f.currency
where s.failed_count is distinct from f.failed_count or s.failed_minor is distinct from f.failed_minor
    or t.recovered_count is distinct from f.recovered_count or t.recovered_minor is distinct from f.recovered_minor

union all

select r.made_in, r.account_id, r.currency
from recoveries as r
left join truth as t on t.account_id = r.account_id and t.livemode = r.livemode and t.currency = r.currency
where t.recovered_count is distinct from r.recovered_count or t.recovered_minor is distinct from r.recovered_minor

union all

-- A currency in which nothing failed has first attempts, and no failed payment.
select 'payments_by_day', coalesce(s.account_id, f.account_id), coalesce(s.currency, f.currency)
from staged as s
full join failures as f on f.account_id = s.account_id and f.livemode = s.livemode and f.currency = s.currency
where coalesce(s.failed_count, 0) <> coalesce(f.failed_count, 0)
    or coalesce(s.failed_minor, 0) <> coalesce(f.failed_minor, 0)
