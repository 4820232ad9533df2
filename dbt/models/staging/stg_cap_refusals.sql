select
    id as refusal_id,
    case_id,
    account_id,
    rule,
    subject,
    {{ adapter.quote('at') }} as refused_at,
    free_at,
    changed_at
from {{ source('ledger', 'cap_refusal') }}
