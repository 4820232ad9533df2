select
    account_id,
    livemode,
    happened_at::date as day,
    network,
    fee_currency,
    count(*) filter (where is_made) as excess_attempts,
    count(*) filter (where is_made and is_ours) as own_excess_attempts,
    {{ total('fee_minor', 'is_made') }} as incurred_fee_minor,
    count(*) filter (where not is_made) as avoided_attempts,
    {{ total('fee_minor', 'not is_made') }} as avoided_fee_minor
from {{ ref('int_excess_attempts') }}
group by account_id, livemode, happened_at::date, network, fee_currency
