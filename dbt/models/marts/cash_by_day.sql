select
    account_id,
    livemode,
    currency,
    recovered_at::date as day,
    count(*) as recovered_count,
    {{ total('recovered_amount_minor') }} as recovered_amount_minor,
    {% for reason in ['own_retry', 'stripe_retry', 'after_mail', 'customer', 'other'] -%}
    {{ total('recovered_amount_minor', "recovered_by = '" ~ reason ~ "'") }} as {{ reason }}_amount_minor{{ "," if not loop.last }}
    {% endfor %}
from {{ ref('recovery_debts') }}
where is_recovered
group by account_id, livemode, currency, recovered_at::date
