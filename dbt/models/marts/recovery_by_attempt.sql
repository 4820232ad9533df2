select
    account_id,
    livemode,
    currency,
    executed_n as n,
    count(*) as executed_count,
    count(*) filter (where is_succeeded) as succeeded_count,
    {{ rate('succeeded_count', 'executed_count') }} as success_rate,
    {{ total('amount_minor') }} as executed_amount_minor,
    {{ total('amount_minor', 'is_succeeded') }} as succeeded_amount_minor
from {{ ref('attempts') }}
where is_executed
group by account_id, livemode, currency, executed_n
