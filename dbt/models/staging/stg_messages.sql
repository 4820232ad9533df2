select
    id as message_id,
    case_id,
    account_id,
    livemode,
    step,
    kind,
    template,
    locale,
    state,
    drop_reason,
    due_at,
    sent_at,
    variant,
    bounce,
    changed_at,
    {{ row_in_file() }} as row_in_file
from {{ source('ledger', 'message') }}
