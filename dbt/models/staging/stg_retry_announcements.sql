select
    account_id,
    id as event_id,
    object_id as invoice_id,
    created_at as announced_at,
    next_payment_attempt_at,
    {{ file_read() }} as file
from {{ source('lake', 'events') }}
where object_type = 'invoice' and next_payment_attempt_at is not null
