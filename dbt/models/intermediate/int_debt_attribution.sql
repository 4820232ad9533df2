with payments as (
    select *
    from {{ ref('int_debt_payments') }}
    where kept_minor > 0
),

stripe as (
    select
        p.account_id,
        p.debt_id
    from payments as p
    inner join {{ ref('int_retry_announcements') }} as s
        on
            p.account_id = s.account_id
            and p.invoice_id = s.invoice_id
            and s.announced_at <= p.paid_at
            and p.paid_at >= s.next_payment_attempt_at
            and p.paid_at <= s.next_payment_attempt_at + {{ hours(var('stripe_retry_window_hours')) }}
    where not p.is_paid_elsewhere
    group by p.account_id, p.debt_id
),

mail as (
    select
        p.account_id,
        p.debt_id
    from payments as p
    inner join {{ ref('int_messages') }} as m
        on
            p.case_id = m.case_id
            and m.kind = 'dunning'
            and m.state = 'sent'
            and m.sent_at <= p.paid_at
            and p.paid_at <= m.sent_at + {{ days(var('mail_credit_days')) }}
    group by p.account_id, p.debt_id
)

select
    p.account_id,
    p.debt_id,
    p.has_own_success,
    s.debt_id is not null as is_announced_by_stripe,
    coalesce(p.has_link_success, false) or m.debt_id is not null as is_after_mail,
    case
        when p.has_own_success then 'own_retry'
        when p.has_link_success then 'after_mail'
        when s.debt_id is not null then 'stripe_retry'
        when m.debt_id is not null then 'after_mail'
        when not p.is_paid_elsewhere then 'customer'
        else 'other'
    end as recovered_by
from payments as p
left join stripe as s on p.account_id = s.account_id and p.debt_id = s.debt_id
left join mail as m on p.account_id = m.account_id and p.debt_id = m.debt_id
