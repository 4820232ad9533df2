with reasons as (
    select
        account_id,
        livemode,
        currency,
        recovered_by,
        count(*) as recovered_count,
        {{ total('recovered_amount_minor') }} as recovered_amount_minor
    from {{ ref('recovery_debts') }}
    where is_recovered
    group by account_id, livemode, currency, recovered_by
)

select
    *,
    sum(recovered_count) over everything::bigint as all_recovered_count,
    sum(recovered_amount_minor) over everything::bigint as all_recovered_amount_minor,
    {{ rate('recovered_count', 'sum(recovered_count) over everything') }} as share_count,
    {{ rate('recovered_amount_minor', 'sum(recovered_amount_minor) over everything') }} as share_amount
from reasons
window everything as (partition by account_id, livemode, currency)
