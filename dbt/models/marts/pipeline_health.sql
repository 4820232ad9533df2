with clock as (
    select as_of from {{ ref('stg_clock') }}
),

found as (
    {%- for name, model, moment in [
        ('newest charge in the lake', 'int_charges', 'created_at'),
        ('newest retry announcement in the lake', 'int_retry_announcements', 'announced_at'),
        ('newest refund in the lake', 'int_refunds', 'created_at'),
        ('newest failed payment', 'stg_failed_payments', 'first_failed_at'),
        ('newest attempt', 'stg_attempts', 'called_at'),
        ('newest mail sent', 'stg_messages', 'sent_at'),
        ('newest webhook', 'stg_webhook_events', 'received_at')] %}
    select
        account_id,
        '{{ name }}' as measure,
        count(*) as {{ adapter.quote('number') }},
        max({{ moment }}) as seen_at
    from {{ ref(model) }}
    group by account_id
    union all
    {%- endfor %}
    {%- for name, model, moment, condition in [
        ('retries overdue by an hour', 'stg_cases', 'due_at', "case_state = 'open' and due_at < (select as_of from clock) - " ~ hours(1)),
        ('cases that wait for a person', 'stg_cases', 'created_at', "case_state = 'needs_human'"),
        ('attempts of unknown outcome', 'stg_attempts', 'called_at', "state in ('unknown', 'processing', 'requires_action', 'calling')"),
        ('mails in doubt', 'stg_messages', 'due_at', "state = 'in_doubt'"),
        ('mails overdue by a day', 'stg_messages', 'due_at', "state = 'scheduled' and due_at < (select as_of from clock) - " ~ days(1)),
        ('anomalies open', 'stg_anomalies', 'found_at', 'resolved_at is null'),
        ('webhooks not drained', 'stg_webhook_events', 'received_at', 'processed_at is null')] %}
    select
        account_id,
        '{{ name }}' as measure,
        {{ tally(condition) }} as {{ adapter.quote('number') }},
        min({{ moment }}) filter (where {{ condition }}) as seen_at
    from {{ ref(model) }}
    group by account_id
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

select
    f.account_id,
    f.measure,
    f.{{ adapter.quote('number') }},
    f.seen_at,
    {{ days_between('f.seen_at', 'c.as_of') }} * 24 as hours_ago,
    c.as_of
from found as f
cross join clock as c
