select
    id as refusal_id,
    case_id,
    account_id,
    rule,
    subject,
    "at" as refused_at,
    free_at
from {{ source('ledger', 'cap_refusal') }}
