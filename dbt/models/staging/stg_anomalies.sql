select
    id as anomaly_id,
    account_id,
    case_id,
    kind,
    {{ adapter.quote('at') }} as found_at,
    resolved_at
from {{ source('ledger', 'anomaly') }}
