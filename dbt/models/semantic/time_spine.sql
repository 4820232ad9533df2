select cast(date '2015-01-01' + cast(n.number_of as integer) as date) as date_day
from ({{ numbers(0, 9130, 'number_of') }}) as n
