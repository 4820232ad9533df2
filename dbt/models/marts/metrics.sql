with rows_of_metrics as (
    {{ metric_rows() }}
)

select
    metric,
    label,
    description,
    unit,
    numerator,
    denominator,
    summed,
    made_of,
    dimensions
from rows_of_metrics
