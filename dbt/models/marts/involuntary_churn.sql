with ended as (
    select
        *,
        case
            when cancellation_reason = 'payment_failed' then 'involuntary'
            when cancellation_reason = 'payment_disputed' then 'involuntary'
            when owed_at_end_count > 0 and cancellation_reason is null then 'involuntary'
            when owed_at_end_count > 0 then 'left_while_owing'
            else 'voluntary'
        end as churn_kind
    from {{ ref('int_subscription_debts') }}
    where ended_at is not null
)

select
    account_id,
    livemode,
    currency,
    {{ month_of('ended_at') }} as ended_month,
    count(*) as ended_count,
    count(*) filter (where churn_kind = 'involuntary') as involuntary_count,
    count(*) filter (where churn_kind = 'left_while_owing') as left_while_owing_count,
    count(*) filter (where churn_kind = 'voluntary') as voluntary_count,
    {{ rate(tally("churn_kind = 'involuntary'"), tally()) }} as involuntary_share,
    {{ total('mrr_minor') }} as ended_mrr_minor,
    {{ total('mrr_minor', "churn_kind = 'involuntary'") }} as involuntary_mrr_minor,
    {{ total('mrr_minor', "churn_kind = 'left_while_owing'") }} as left_while_owing_mrr_minor
from ended
group by account_id, livemode, currency, {{ month_of('ended_at') }}
