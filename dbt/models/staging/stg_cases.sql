select
    id as case_id,
    account_id,
    debt_id,
    livemode,
    lower(currency) as currency,
    amount_minor,
    state as case_state,
    state_reason,
    category,
    move,
    verdict_source,
    decline_code,
    card_fingerprint,
    lower(card_brand) as network,
    policy_version,
    created_at,
    closed_at
from {{ source('ledger', 'recovery_case') }}
