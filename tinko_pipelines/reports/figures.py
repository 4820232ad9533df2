"""What the HTML report shows, read from the snapshot. Queries only: no layout, and no number that is not a mart's.

Counts of accounts and currencies are added up where a picture is by count; amounts never cross a currency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.summary import MODE

if TYPE_CHECKING:
    import duckdb

ACCOUNTS_MAX = 3
CURRENCIES_MAX = 6
CASH_DAYS_MAX = 92

_COUNTS = """sum(failed_count)::bigint AS failed_count, sum(recovered_count)::bigint AS recovered_count,
  sum(closed_count)::bigint AS closed_count, sum(recovered_count) / sum(failed_count) AS rate,
  sum(recovered_count) / nullif(sum(closed_count), 0) AS rate_closed"""
_AMOUNTS = """currency, sum(failed_count)::bigint AS failed_count,
  sum(failed_amount_minor)::bigint AS failed_minor, sum(recovered_amount_minor)::bigint AS recovered_minor,
  sum(closed_amount_minor)::bigint AS closed_minor,
  sum(recovered_amount_minor) / nullif(sum(failed_amount_minor), 0) AS rate,
  sum(recovered_amount_minor) / nullif(sum(closed_amount_minor), 0) AS rate_closed"""

QUERIES = {
    "cohorts": f"""SELECT cohort_month, bool_and(is_mature) AS is_mature, {_COUNTS}
        FROM recovery_by_cohort WHERE {MODE} GROUP BY cohort_month ORDER BY cohort_month""",
    "cohort_amounts": f"""SELECT cohort_month, bool_and(is_mature) AS is_mature, {_AMOUNTS}
        FROM recovery_by_cohort WHERE {MODE} GROUP BY cohort_month, currency
        ORDER BY cohort_month, failed_count DESC, currency""",
    "reason_amounts": f"""SELECT recovered_by, currency, sum(recovered_count)::bigint AS recovered_count,
        sum(recovered_amount_minor)::bigint AS recovered_minor,
        sum(recovered_amount_minor) / sum(sum(recovered_amount_minor)) OVER (PARTITION BY currency) AS share
        FROM recovery_by_reason WHERE {MODE} GROUP BY recovered_by, currency ORDER BY currency, recovered_minor DESC""",
    "attempts": f"""SELECT n, sum(executed_count)::bigint AS executed_count,
        sum(succeeded_count)::bigint AS succeeded_count, sum(succeeded_count) / sum(executed_count) AS rate
        FROM recovery_by_attempt WHERE {MODE} GROUP BY n ORDER BY n""",
    "costs": f"""SELECT currency, sum(executed_attempts)::bigint AS attempts, sum(messages_sent)::bigint AS messages,
        sum(recovered_count)::bigint AS recovered_count, sum(network_fee_minor)::bigint AS fee_minor,
        sum(disputes_after_recovery_count)::bigint AS disputes,
        sum(disputes_after_recovery_amount_minor)::bigint AS disputes_minor,
        sum(reversed_amount_minor)::bigint AS reversed_minor,
        sum(executed_attempts) / nullif(sum(recovered_count), 0) AS attempts_each,
        sum(messages_sent) / nullif(sum(recovered_count), 0) AS messages_each
        FROM recovery_cost WHERE {MODE} GROUP BY currency ORDER BY recovered_count DESC, currency""",
    "curve": f"""SELECT account_id, day, failed_count, at_risk_count, recovered_count, canceled_count,
        recovered_incidence, canceled_incidence FROM time_to_recover
        WHERE {MODE} AND account_id IN (SELECT account_id FROM recovery_debts WHERE {MODE}
          GROUP BY account_id ORDER BY count(*) DESC, account_id LIMIT {ACCOUNTS_MAX})
        ORDER BY max(failed_count) OVER (PARTITION BY account_id) DESC, account_id, day""",
    "cash": f"""WITH by_day AS (SELECT currency, day, sum(recovered_count)::bigint AS recovered_count,
          sum(recovered_amount_minor)::bigint AS recovered_minor
          FROM cash_by_day WHERE {MODE} GROUP BY currency, day),
        span AS (SELECT min(day) AS first_day, max(day) AS last_day FROM by_day),
        largest AS (SELECT currency, sum(recovered_count) AS n FROM by_day GROUP BY currency
          ORDER BY n DESC, currency LIMIT {CURRENCIES_MAX}),
        days AS (SELECT unnest(range(greatest(first_day, last_day - {CASH_DAYS_MAX - 1}),
          last_day + INTERVAL 1 DAY, INTERVAL 1 DAY))::date AS day FROM span)
        SELECT l.currency, t.day, coalesce(d.recovered_count, 0) AS recovered_count,
          coalesce(d.recovered_minor, 0) AS recovered_minor
        FROM largest l CROSS JOIN days t LEFT JOIN by_day d ON d.currency = l.currency AND d.day = t.day
        ORDER BY l.n DESC, l.currency, t.day""",
    "firsts": f"""SELECT coalesce(sum(first_attempt_count), 0)::bigint AS first_attempts,
        coalesce(sum(failed_first_attempt_count), 0)::bigint AS failed,
        sum(failed_first_attempt_count) / nullif(sum(first_attempt_count), 0) AS rate,
        min(day) AS first_day, max(day) AS last_day FROM payments_by_day WHERE {MODE}""",
    "span": f"""SELECT min(first_failed_at) AS first_failed, max(first_failed_at) AS last_failed,
        count(DISTINCT account_id) AS accounts FROM recovery_debts WHERE {MODE}""",
}


def figures(connection: duckdb.DuckDBPyConnection) -> dict[str, list[dict[str, Any]]]:
    """The rows of every query by its name."""
    found = {}
    for name, sql in QUERIES.items():
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        found[name] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return found
