select
    account_id,
    debt_id,
    category,
    move,
    source as verdict_source,
    rule as verdict_rule,
    confidence as verdict_confidence,
    changed_at,
    {{ row_in_file() }} as row_in_file
from {{ source('derived', 'verdicts') }}
