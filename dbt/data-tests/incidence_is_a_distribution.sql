-- By any day no more than all debts have left, and what has happened by a day has happened by the next.
with steps as (
    select
        account_id,
        livemode,
        category,
        {{ adapter.quote('day') }},
        recovered_incidence,
        canceled_incidence,
        lag(recovered_incidence, 1, cast(0 as double)) over by_day as recovered_before,
        lag(canceled_incidence, 1, cast(0 as double)) over by_day as canceled_before
    from {{ ref('time_to_recover') }}
    window by_day as (partition by account_id, livemode, category order by {{ adapter.quote('day') }})
)

select *
from steps
where
    recovered_incidence + canceled_incidence > 1 + 1e-9
    or recovered_incidence < recovered_before - 1e-9
    or canceled_incidence < canceled_before - 1e-9
