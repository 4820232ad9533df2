{{ config(materialized='table') }}

select coalesce(nullif('{{ env_var("TINKO_DBT_AS_OF", "") }}', '')::timestamptz, now()) as as_of
