{#- Of each table what is asked of it: the measure, the moment, how many of which rows. It is looked at once. -#}
{%- set asked = {
    'int_first_attempts': [('newest charge in the lake', 'newest_charge_at', none)],
    'int_retry_announcements': [('newest retry announcement in the lake', 'announced_at', none)],
    'int_refunds': [('newest refund in the lake', 'created_at', none)],
    'fct_failed_payments': [('newest failed payment', 'first_failed_at', none)],
    'fct_attempts': [
        ('newest attempt', 'called_at', none),
        ('attempts of unknown outcome', 'called_at', "state in ('unknown', 'processing', 'requires_action', 'calling')")],
    'fct_messages': [
        ('newest mail sent', 'sent_at', none),
        ('mails in doubt', 'due_at', "state = 'in_doubt'"),
        ('mails overdue by a day', 'due_at', "state = 'scheduled' and due_at < (select as_of from clock) - " ~ days(1))],
    'stg_webhook_events': [
        ('newest webhook', 'received_at', none),
        ('webhooks not drained', 'received_at', 'processed_at is null')],
    'stg_cases': [
        ('retries overdue by an hour', 'due_at', "case_state = 'open' and due_at < (select as_of from clock) - " ~ hours(1)),
        ('cases that wait for a person', 'created_at', "case_state = 'needs_human'")],
    'stg_anomalies': [('anomalies open', 'found_at', 'resolved_at is null')],
} -%}
{#- Charges are counted by day already. -#}
{%- set counted = {'int_first_attempts': total('charge_count')} -%}

with clock as (
    select as_of from {{ ref('stg_clock') }}
),

{%- for model, measures in asked.items() %}

of_{{ model }} as (
    select
        account_id,
        {%- for _, moment, condition in measures %}
        {{ counted.get(model) or tally(condition) }} as number_{{ loop.index }},
        {{ 'min' if condition else 'max' }}({{ moment }}) {% if condition %}filter (where {{ condition }}) {% endif %}as seen_{{ loop.index }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref(model) }}
    group by account_id
),
{%- endfor %}

found as (
    {%- for model, measures in asked.items() %}{% set last = loop.last %}
    {%- for measure, _, _ in measures %}
    select
        account_id,
        '{{ measure }}' as measure,
        number_{{ loop.index }} as {{ adapter.quote('number') }},
        seen_{{ loop.index }} as seen_at
    from of_{{ model }}
    {{ 'union all' if not (last and loop.last) }}
    {%- endfor %}
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
