select
    m.message_id,
    m.case_id,
    m.account_id,
    m.livemode,
    k.debt_id,
    k.currency,
    k.category,
    m.step,
    m.kind,
    m.template,
    m.locale,
    m.state,
    m.state = 'sent' as is_sent,
    m.drop_reason,
    m.due_at,
    m.sent_at,
    m.variant,
    m.bounce,
    coalesce(
        m.state = 'sent'
        and d.recovered_at >= m.sent_at
        and d.recovered_at <= m.sent_at + to_days({{ var('mail_credit_days') }}),
        false
    ) as is_followed_by_payment
from {{ ref('stg_messages') }} as m
left join {{ ref('stg_cases') }} as k on k.case_id = m.case_id
left join {{ ref('recovery_debts') }} as d on d.account_id = k.account_id and d.debt_id = k.debt_id
