with debts as (
    select
        account_id,
        livemode,
        currency,
        {{ recovery_measures() }},
        count(*) filter (where not is_closed) as open_count,
        {{ total('failed_amount_minor', 'not is_closed') }} as open_amount_minor,
        count(*) filter (where not is_closed and case_id is not null) as in_recovery_count,
        {{ total('failed_amount_minor', 'not is_closed and case_id is not null') }} as in_recovery_amount_minor,
        count(*) filter (where outcome = 'reversed') as reversed_count,
        {{ total('reversed_amount_minor') }} as reversed_amount_minor
    from {{ ref('recovery_debts') }}
    group by account_id, livemode, currency
)

select
    d.*,
    c.executed_attempts,
    c.messages_sent,
    c.attempts_per_recovery,
    c.messages_per_recovery,
    k.as_of
from debts as d
cross join {{ ref('stg_clock') }} as k
left join {{ ref('recovery_cost') }} as c
    on c.account_id = d.account_id and c.livemode = d.livemode and c.currency = d.currency
