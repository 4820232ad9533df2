select
    account_id,
    livemode,
    currency,
    decline_code,
    {{ recovery_measures() }}
from {{ ref('recovery_debts') }}
group by account_id, livemode, currency, decline_code
