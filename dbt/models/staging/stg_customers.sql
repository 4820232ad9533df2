select
    account_id,
    id as customer_id,
    livemode,
    country,
    preferred_locale,
    coalesce(delinquent, false) as is_delinquent,
    coalesce(deleted, false) as is_deleted,
    created_at,
    {{ file_read() }} as file
from {{ source('lake', 'customers') }}
