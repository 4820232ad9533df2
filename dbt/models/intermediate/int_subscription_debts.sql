{{ config(materialized=kept_as(), mends_by=['int_touched_subscriptions', 'subscription_key']) }}
-- depends_on: {{ ref('int_touched_subscriptions') }}
{%- set touched = ref('int_touched_subscriptions') %}
with subscriptions as (
    {{ part_of(ref('int_subscriptions'), 's.subscription_key in (select t.subscription_key from ' ~ touched ~ ' as t)') }}
),

facts as (
    {{ part_of(
        ref('fct_failed_payments'),
        '(s.account_id, s.subscription_id) in (select t.account_id, t.subscription_id from ' ~ touched ~ ' as t)'
    ) }}
)

select
    s.subscription_key,
    s.account_id,
    s.livemode,
    s.subscription_id,
    s.customer_id,
    s.currency,
    s.status,
    s.cancellation_reason,
    s.ended_at,
    p.price_id,
    cast(round(
        case p.billing_interval
            when 'day' then p.unit_amount_minor * 365 / cast(12 * coalesce(p.interval_count, 1) as double)
            when 'week' then p.unit_amount_minor * 52 / cast(12 * coalesce(p.interval_count, 1) as double)
            when 'month' then p.unit_amount_minor / cast(coalesce(p.interval_count, 1) as double)
            when 'year' then p.unit_amount_minor / cast(12 * coalesce(p.interval_count, 1) as double)
        end
    ) as bigint) as mrr_minor,
    min(d.first_failed_at) as first_failed_at,
    count(d.debt_id) as failed_count,
    count(d.debt_id) filter (where d.is_recovered) as recovered_count,
    count(d.debt_id) filter (where not d.is_recovered and not d.is_closed) as open_count,
    count(d.debt_id) filter (where d.first_failed_at <= s.ended_at and (d.outcome_at is null or d.outcome_at >= s.ended_at))
        as owed_at_end_count
from subscriptions as s
left join {{ ref('int_prices') }} as p on s.account_id = p.account_id and s.price_id = p.price_id
left join facts as d
    on s.account_id = d.account_id and s.subscription_id = d.subscription_id
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
