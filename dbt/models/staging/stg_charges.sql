select
    account_id,
    id as charge_id,
    payment_intent_id,
    livemode,
    lower(currency) as currency,
    amount_minor,
    coalesce(amount_captured_minor, 0) as captured_minor,
    coalesce(amount_refunded_minor, 0) as refunded_minor,
    status,
    coalesce(disputed, false) as is_disputed,
    created_at
from {{ source('lake', 'charges') }}
