select
    account_id,
    id as dispute_id,
    charge_id,
    amount_minor,
    status,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'disputes') }}
