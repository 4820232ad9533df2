-- By any day no more than all debts have left, and what has happened by a day has happened by the next.
select account_id, livemode, day
from {{ ref('time_to_recover') }}
window by_day as (partition by account_id, livemode, category order by day)
qualify recovered_incidence + canceled_incidence > 1 + 1e-9
    or recovered_incidence < lag(recovered_incidence, 1, 0) over by_day - 1e-9
    or canceled_incidence < lag(canceled_incidence, 1, 0) over by_day - 1e-9
