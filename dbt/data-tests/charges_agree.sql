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
        d.currency as debt_currency,
        b.amount_minor as settled_minor,
        b.currency as settled_currency,
        b.exchange_rate
    from {{ ref('fct_failed_payments') }} as d
    inner join {{ ref('stg_charges') }} as c
        on d.account_id = c.account_id and d.payment_charge_id = c.charge_id and c.status = 'succeeded'
    left join {{ ref('stg_balance_transactions') }} as b
        on c.account_id = b.account_id and c.balance_transaction_id = b.balance_transaction_id
    where d.paid_amount_minor > 0
)

select *
from paid
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
