select
    account_id,
    id as price_id,
    lower(currency) as currency,
    {{ adapter.quote('interval') }} as billing_interval,
    interval_count,
    nickname,
    product_id,
    unit_amount_minor,
    {{ file_read() }} as file
from {{ source('lake', 'prices') }}
