-- One charge pays for one debt; a second debt that it settles is merged and adds nothing. A build that mends looks for what it made
-- anew among all debts, since one that is made anew and one that is not may meet.
select
    {{ row_number_of(['account_id', 'payment_charge_id']) }} as charge,
    count(*) as debts
from {{ ref('fct_failed_payments') }}
where
    is_recovered and payment_charge_id is not null
    {% if mends() %}and payment_charge_id in (select n.payment_charge_id from {{ made_now('fct_failed_payments') }} as n where n.is_recovered){% endif %}
group by {{ row_number_of(['account_id', 'payment_charge_id']) }}
having count(*) > 1
