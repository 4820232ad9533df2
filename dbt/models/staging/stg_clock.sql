{{ config(materialized='table') }}

select coalesce(cast(nullif('{{ env_var("TINKO_DBT_AS_OF", "") }}', '') as {{ moment_type() }}), current_timestamp) as as_of
