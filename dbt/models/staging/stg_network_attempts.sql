select
    charge_id,
    account_id,
    livemode,
    card_fingerprint,
    lower(card_brand) as network,
    lower(currency) as currency,
    amount_minor,
    {{ adapter.quote('at') }} as attempted_at,
    declined as is_declined,
    ours as is_ours,
    changed_at,
    {{ row_in_file() }} as row_in_file
from {{ source('ledger', 'network_attempt') }}
