select
    account_id,
    id as balance_transaction_id,
    source_id,
    type,
    lower(currency) as currency,
    amount_minor,
    fee_minor,
    cast(exchange_rate as decimal(38, 18)) as exchange_rate,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'balance_transactions') }}
