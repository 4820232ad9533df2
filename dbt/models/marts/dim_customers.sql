{{ config(materialized=kept_as(), mends_by=['int_touched_customers', 'account_id', 'customer_id']) }}
-- depends_on: {{ ref('int_touched_customers') }}
with facts as (
    {{ part_of(
        ref('fct_failed_payments'),
        '(s.account_id, s.customer_id) in (select t.account_id, t.customer_id from ' ~ ref('int_touched_customers') ~ ' as t)'
    ) }}
)

select
    d.account_id,
    d.livemode,
    d.customer_id,
    {% if var('personal_data') -%}
    c.country,
    c.preferred_locale,
    {% endif -%}
    coalesce(c.is_delinquent, false) as is_delinquent,
    coalesce(c.is_deleted, false) as is_deleted,
    c.created_at as customer_since,
    min(d.first_failed_at) as first_failed_at,
    max(d.first_failed_at) as last_failed_at,
    count(*) as failed_count,
    count(*) filter (where d.is_recovered) as recovered_count,
    count(*) filter (where not d.is_closed) as open_count,
    count(distinct d.currency) as currencies,
    {{ total('d.own_attempts') }} as own_attempts,
    {{ total('d.messages_sent') }} as messages_sent
from facts as d
left join {{ ref('int_customers') }} as c on {{ key('d.account_id', 'd.customer_id') }} = c.customer_key
where d.customer_id is not null and d.customer_id <> 'erased'
group by
    d.account_id, d.livemode, d.customer_id, c.is_delinquent, c.is_deleted, c.created_at
    {%- if var('personal_data') %}, c.country, c.preferred_locale{% endif %}
