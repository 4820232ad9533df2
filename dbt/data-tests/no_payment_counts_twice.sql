-- One charge pays for one debt; a second debt that it settles is merged and adds nothing. All debts are looked at, since one that is
-- made anew and one that is not may meet.
select
    {{ row_number_of(['account_id', 'payment_charge_id']) }} as charge,
    count(*) as debts
from {{ ref('fct_failed_payments') }}
where is_recovered and payment_charge_id is not null
group by {{ row_number_of(['account_id', 'payment_charge_id']) }}
having count(*) > 1
