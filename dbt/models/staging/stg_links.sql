select
    id as link_id,
    case_id,
    account_id,
    livemode,
    created_at,
    expires_at,
    first_opened_at,
    clicks,
    last_clicked_at,
    used_at,
    changed_at
from {{ source('ledger', 'recovery_link') }}
