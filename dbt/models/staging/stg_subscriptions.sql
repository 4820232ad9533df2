select
    account_id,
    id as subscription_id,
    livemode,
    customer_id,
    status,
    cancellation_reason,
    lower(currency) as currency,
    price_id,
    coalesce(cancel_at_period_end, false) as is_to_end,
    canceled_at,
    ended_at,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'subscriptions') }}
