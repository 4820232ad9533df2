with refunds as (
    select account_id, charge_id, {{ total('amount_minor') }} as refunded_minor
    from {{ ref('stg_refunds') }}
    where status = 'succeeded'
    group by account_id, charge_id
),

disputes as (
    select
        account_id,
        charge_id,
        {{ total('amount_minor', "status in ('needs_response', 'under_review', 'lost', 'charge_refunded')") }}
            as disputed_minor
    from {{ ref('stg_disputes') }}
    group by account_id, charge_id
)

select
    c.account_id,
    c.charge_id,
    greatest(c.refunded_minor, coalesce(r.refunded_minor, 0))::bigint as refunded_minor,
    case
        when d.charge_id is not null then d.disputed_minor
        when c.is_disputed then c.amount_minor
        else 0
    end::bigint as disputed_minor
from {{ ref('stg_charges') }} as c
left join refunds as r on r.account_id = c.account_id and r.charge_id = c.charge_id
left join disputes as d on d.account_id = c.account_id and d.charge_id = c.charge_id
where c.status = 'succeeded'
