select
    account_id,
    id as refund_id,
    charge_id,
    amount_minor,
    status,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'refunds') }}
