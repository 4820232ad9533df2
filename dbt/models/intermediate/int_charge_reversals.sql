with refunds as (
    select
        account_id,
        charge_id,
        {{ total('amount_minor') }} as refunded_minor,
        max(created_at) as refunded_at
    from {{ ref('stg_refunds') }}
    where status = 'succeeded'
    group by account_id, charge_id
),

disputes as (
    select
        account_id,
        charge_id,
        {{ total('amount_minor', "status in ('needs_response', 'under_review', 'lost', 'charge_refunded')") }}
            as disputed_minor,
        max(created_at) filter (where status in ('needs_response', 'under_review', 'lost', 'charge_refunded'))
            as disputed_at
    from {{ ref('stg_disputes') }}
    group by account_id, charge_id
)

select
    c.account_id,
    c.charge_id,
    cast(greatest(c.refunded_minor, coalesce(r.refunded_minor, 0)) as bigint) as refunded_minor,
    cast(case
        when d.charge_id is not null then d.disputed_minor
        when c.is_disputed then c.amount_minor
        else 0
    end as bigint) as disputed_minor,
    greatest(r.refunded_at, d.disputed_at) as reversed_at
from {{ ref('stg_charges') }} as c
left join refunds as r on c.account_id = r.account_id and c.charge_id = r.charge_id
left join disputes as d on c.account_id = d.account_id and c.charge_id = d.charge_id
where
    c.status = 'succeeded'
    and (c.refunded_minor > 0 or c.is_disputed or r.charge_id is not null or d.charge_id is not null)
