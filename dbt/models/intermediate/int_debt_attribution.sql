with payments as (
    select * from {{ ref('int_debt_payments') }} where kept_minor > 0
),

stripe as (
    select distinct p.account_id, p.debt_id
    from payments as p
    inner join {{ ref('stg_retry_announcements') }} as s
        on s.account_id = p.account_id
        and s.invoice_id = p.invoice_id
        and s.announced_at <= p.paid_at
        and p.paid_at >= s.next_payment_attempt_at
        and p.paid_at <= s.next_payment_attempt_at + to_hours({{ var('stripe_retry_window_hours') }})
    where not p.is_paid_elsewhere
),

mail as (
    select distinct p.account_id, p.debt_id
    from payments as p
    inner join {{ ref('stg_messages') }} as m
        on m.case_id = p.case_id
        and m.kind = 'dunning'
        and m.state = 'sent'
        and m.sent_at <= p.paid_at
        and p.paid_at <= m.sent_at + to_days({{ var('mail_credit_days') }})
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
left join stripe as s on s.account_id = p.account_id and s.debt_id = p.debt_id
left join mail as m on m.account_id = p.account_id and m.debt_id = p.debt_id
