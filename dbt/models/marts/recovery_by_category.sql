select
    account_id,
    livemode,
    currency,
    category,
    mode(move order by move) as usual_move,
    {{ recovery_measures() }},
    sum(own_attempts)::bigint as own_attempts,
    sum(messages_sent)::bigint as messages_sent
from {{ ref('recovery_debts') }}
group by account_id, livemode, currency, category
