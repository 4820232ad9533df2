{{ config(materialized=kept_as(), mends_by=['int_case_efforts', 'case_id'], mends_within=['int_touched_months', 'cohort_month', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
with links as (
    select
        case_id,
        max(clicks) as clicks
    from {{ ref('stg_links') }}
    {% if mends() %}where case_id in (select e.case_id from {{ ref('int_case_efforts') }} as e){% endif %}
    group by case_id
)

select
    m.message_id,
    m.case_id,
    m.account_id,
    m.livemode,
    k.debt_id,
    coalesce(d.cohort_month, {{ month_of('k.opened_at') }}) as cohort_month,
    k.currency,
    k.category,
    m.step,
    m.kind,
    m.template,
    m.locale,
    m.variant,
    m.state,
    m.state = 'sent' as is_sent,
    m.drop_reason,
    m.due_at,
    m.sent_at,
    m.bounce,
    coalesce(l.clicks, 0) > 0 as is_case_clicked,
    coalesce(
        m.state = 'sent'
        and d.recovered_at >= m.sent_at
        and d.recovered_at <= m.sent_at + {{ days(var('mail_credit_days')) }},
        false
    ) as is_followed_by_payment,
    cast(case
        when
            m.state = 'sent'
            and d.recovered_at >= m.sent_at
            and d.recovered_at <= m.sent_at + {{ days(var('mail_credit_days')) }}
            then d.recovered_amount_minor
        else 0
    end as bigint) as followed_amount_minor
from {{ ref('int_messages') }} as m
left join {{ ref('int_case_efforts') }} as k on m.case_id = k.case_id
left join {{ made_now('fct_failed_payments') }} as d on k.account_id = d.account_id and k.debt_id = d.debt_id
left join links as l on m.case_id = l.case_id
