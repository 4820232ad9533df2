with saved as (
    select
        *,
        failed_count > 0 and open_count = 0 and recovered_count > 0 and ended_at is null
        and status in ('active', 'trialing') as is_saved
    from {{ ref('int_subscription_debts') }}
    where failed_count > 0
)

select
    account_id,
    livemode,
    currency,
    {{ month_of('first_failed_at') }} as cohort_month,
    count(*) as subscriptions_at_risk,
    count(*) filter (where is_saved) as subscriptions_saved,
    count(*) filter (where not is_saved and ended_at is null) as subscriptions_undecided,
    count(*) filter (where ended_at is not null) as subscriptions_ended,
    {{ rate(tally('is_saved'), tally()) }} as saved_rate,
    {{ total('mrr_minor') }} as mrr_at_risk_minor,
    {{ total('mrr_minor', 'is_saved') }} as mrr_saved_minor
from saved
group by account_id, livemode, currency, {{ month_of('first_failed_at') }}
