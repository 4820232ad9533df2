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
    changed_at
from {{ source('ledger', 'network_attempt') }}
