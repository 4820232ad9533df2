select
    rule,
    network,
    keyed_by,
    max_attempts,
    window_hours,
    valid_from,
    valid_until,
    excess_fee_minor,
    fee_currency
from {{ source('ledger', 'cap_rule') }}
