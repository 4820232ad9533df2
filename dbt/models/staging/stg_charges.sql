select
    account_id,
    id as charge_id,
    payment_intent_id,
    customer_id,
    livemode,
    lower(currency) as currency,
    amount_minor,
    coalesce(amount_captured_minor, 0) as captured_minor,
    coalesce(amount_refunded_minor, 0) as refunded_minor,
    status,
    coalesce(captured, true) as is_captured,
    coalesce(disputed, false) as is_disputed,
    balance_transaction_id,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'charges') }}
