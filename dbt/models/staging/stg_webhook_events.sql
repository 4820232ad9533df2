select
    event_id,
    account_id,
    livemode,
    received_at,
    processed_at,
    landed_at
from {{ source('ledger', 'webhook_event') }}
