-- What the facts say was paid is what Stripe's charges say, and what balance transactions say of those, each by its id: the
-- settled amount is the charged one, or that times the rate at which Stripe exchanged it, within one minor unit.
with paid as (
    select
        d.account_id,
        d.debt_id,
        d.paid_amount_minor,
        d.failed_amount_minor,
        c.charge_id,
        c.amount_minor,
        c.captured_minor,
        c.currency,
        c.balance_transaction_id,
        d.currency as debt_currency
    from {{ made_now('fct_failed_payments') }} as d
    inner join {{ ref('stg_charges') }} as c
        on d.account_id = c.account_id and d.payment_charge_id = c.charge_id and c.status = 'succeeded'
    where d.paid_amount_minor > 0
),

settled as (
    -- Of all there are, only those of such payments are held in memory.
    select
        account_id,
        balance_transaction_id,
        amount_minor as settled_minor,
        currency as settled_currency,
        exchange_rate
    from {{ ref('stg_balance_transactions') }}
    where balance_transaction_id in (select p.balance_transaction_id from paid as p)
),

compared as (
    select
        p.*,
        s.settled_minor,
        s.settled_currency,
        s.exchange_rate
    from paid as p
    left join settled as s
        on p.account_id = s.account_id and p.balance_transaction_id = s.balance_transaction_id
)

select *
from compared
where
    paid_amount_minor <> least(coalesce(nullif(captured_minor, 0), amount_minor), failed_amount_minor)
    or currency <> debt_currency
    or (
        settled_minor is not null
        and (settled_currency = currency or exchange_rate is not null)
        and abs(
            settled_minor
            - coalesce(nullif(captured_minor, 0), amount_minor)
            * case when settled_currency = currency then 1 else exchange_rate end
        ) > 1
    )
