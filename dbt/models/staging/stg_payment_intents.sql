select
    account_id,
    id as payment_intent_id,
    status,
    canceled_at,
    {{ json_text('metadata', 'tinko_debt') }} as stands_for_debt_id,
    {{ file_read() }} as file
from {{ source('lake', 'payment_intents') }}
