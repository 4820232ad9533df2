select
    account_id,
    id as payment_intent_id,
    status,
    canceled_at
from {{ source('lake', 'payment_intents') }}
