-- depends_on: {{ ref('int_changed_files') }} {{ ref('stg_prices') }}
{% if mends() %}
select distinct account_id, price_id
from ({{ differing('*', ref('stg_prices'), as_built('int_prices')) }}) as p
{% else %}
select account_id, price_id from {{ ref('stg_prices') }} where false
{% endif %}
