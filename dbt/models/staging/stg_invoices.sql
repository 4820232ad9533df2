select
    account_id,
    id as invoice_id,
    status,
    voided_at,
    marked_uncollectible_at,
    {{ file_read() }} as file
from {{ source('lake', 'invoices') }}
