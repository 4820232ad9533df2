-- One charge can pay for one debt only; a second debt it settles is merged and adds nothing.
select account_id, payment_charge_id, count(*) as debts
from {{ ref('recovery_debts') }}
where is_recovered and payment_charge_id is not null
group by account_id, payment_charge_id
having count(*) > 1
