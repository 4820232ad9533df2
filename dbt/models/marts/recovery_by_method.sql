{{ config(materialized=kept_as(), mends_by=['int_touched_months', 'cohort_month']) }}
-- depends_on: {{ ref('int_touched_months') }}
with methods as (
    select
        account_id,
        livemode,
        currency,
        cohort_month,
        recovered_by,
        coalesce(payment_method_type, 'unknown') as payment_method_type,
        {{ metrics(['recovered_count', 'recovered_amount_minor']) }}
    from {{ ref('fct_failed_payments') }}
    where is_recovered and {{ is_of_touched_month() }}
    group by account_id, livemode, currency, cohort_month, recovered_by, coalesce(payment_method_type, 'unknown')
)

select
    account_id,
    livemode,
    currency,
    cohort_month,
    recovered_by,
    payment_method_type,
    recovered_count,
    recovered_amount_minor,
    cast(sum(recovered_count) over cohort as bigint) as all_recovered_count,
    cast(sum(recovered_amount_minor) over cohort as bigint) as all_recovered_amount_minor,
    {{ rate('recovered_count', 'sum(recovered_count) over cohort') }} as share_count,
    {{ rate('recovered_amount_minor', 'sum(recovered_amount_minor) over cohort') }} as share_amount
from methods
window cohort as (partition by account_id, livemode, currency, cohort_month)
