select
    account_id,
    id as invoice_payment_id,
    invoice_id,
    payment_intent_id,
    charge_id,
    {{ file_read() }} as file
from {{ source('lake', 'invoice_payments') }}
