select as_of from {{ ref('stg_clock') }}
