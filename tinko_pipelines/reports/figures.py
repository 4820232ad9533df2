"""What the HTML report shows, read from the snapshot: metrics by their names, and marts that no metric is. No layout.

Counts of accounts and currencies are added up where a picture is by count; amounts never cross a currency. What a mart has is
summed from its rows, so that a million debts are looked through for slices and totals alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import MODE, measured, rows

if TYPE_CHECKING:
    import duckdb

ACCOUNTS_MAX = 3
CURRENCIES_MAX = 6
CASH_DAYS_MAX = 92
RATES = (
    "failed_count", "recovered_count", "closed_count", "recovery_rate_count", "recovery_rate_closed_count",
)  # fmt: skip
AMOUNTS = (
    "failed_count", "failed_amount_minor", "recovered_amount_minor", "closed_amount_minor", "recovery_rate_amount",
    "recovery_rate_closed_amount",
)  # fmt: skip
MATURE = f"""SELECT cohort_month, bool_and(is_mature) AS is_mature, max(last_restated_at) AS last_restated_at
  FROM recovery_cohorts WHERE {MODE} GROUP BY cohort_month"""
QUERIES = {
    "costs": f"""SELECT currency, sum(executed_attempts)::bigint AS attempts, sum(messages_sent)::bigint AS messages,
        sum(recovered_count)::bigint AS recovered_count,
        sum(recovered_amount_minor)::bigint AS recovered_amount_minor,
        sum(network_fee_minor + mail_cost_minor)::bigint AS fee_minor,
        sum(network_fee_minor + mail_cost_minor) / nullif(sum(recovered_amount_minor), 0)::double AS fee_each,
        sum(disputes_after_recovery_count)::bigint AS disputes,
        sum(disputes_after_recovery_amount_minor)::bigint AS disputes_minor,
        sum(reversed_amount_minor)::bigint AS reversed_minor,
        sum(executed_attempts) / nullif(sum(recovered_count), 0) AS attempts_each,
        sum(messages_sent) / nullif(sum(recovered_count), 0) AS messages_each
        FROM retry_costs WHERE {MODE} GROUP BY currency ORDER BY recovered_count DESC, currency""",
    "curve": f"""SELECT account_id, day, failed_count, at_risk_count, recovered_count, canceled_count,
        recovered_incidence, canceled_incidence FROM time_to_recover
        WHERE {MODE} AND category = 'all' AND account_id IN (SELECT account_id FROM fct_failed_payments WHERE {MODE}
          GROUP BY account_id ORDER BY count(*) DESC, account_id LIMIT {ACCOUNTS_MAX})
        ORDER BY max(failed_count) OVER (PARTITION BY account_id) DESC, account_id, day""",
    "cash": f"""WITH by_day AS (SELECT currency, day, sum(cash_count)::bigint AS recovered_count,
          sum(cash_amount_minor)::bigint AS recovered_minor
          FROM recovery_daily WHERE {MODE} AND cash_count > 0 GROUP BY currency, day),
        span AS (SELECT min(day) AS first_day, max(day) AS last_day FROM by_day),
        largest AS (SELECT currency, sum(recovered_count) AS n FROM by_day GROUP BY currency
          ORDER BY n DESC, currency LIMIT {CURRENCIES_MAX}),
        days AS (SELECT unnest(range(greatest(first_day, last_day - {CASH_DAYS_MAX - 1}),
          last_day + INTERVAL 1 DAY, INTERVAL 1 DAY))::date AS day FROM span)
        SELECT l.currency, t.day, coalesce(d.recovered_count, 0) AS recovered_count,
          coalesce(d.recovered_minor, 0) AS recovered_minor
        FROM largest l CROSS JOIN days t LEFT JOIN by_day d ON d.currency = l.currency AND d.day = t.day
        ORDER BY l.n DESC, l.currency, t.day""",
    "span": f"""SELECT min(first_failed_at) AS first_failed, max(first_failed_at) AS last_failed,
        count(DISTINCT account_id) AS accounts FROM fct_failed_payments WHERE {MODE}""",
}
Rows = list[dict[str, Any]]


def figures(connection: duckdb.DuckDBPyConnection) -> dict[str, Rows]:
    """The rows of the report's first pictures and tables by their names."""
    cohorts = {row["cohort_month"]: row for row in rows(connection, MATURE)}
    by_month = measured(connection, RATES, ["cohort_month"], mart="recovery_cohorts")
    amounts = measured(connection, AMOUNTS, ["cohort_month", "currency"], mart="recovery_cohorts")
    methods = ("recovered_count", "recovered_amount_minor")
    reasons = measured(connection, methods, ["recovered_by", "currency"], mart="recovery_by_method")
    tries = ("executed_count", "succeeded_count", "success_rate")
    return {
        "cohorts": [row | cohorts[row["cohort_month"]] for row in by_month],
        "cohort_amounts": sorted(
            (row | cohorts[row["cohort_month"]] for row in amounts),
            key=lambda row: (row["cohort_month"], -row["failed_count"], row["currency"]),
        ),
        "reason_amounts": _shares(reasons),
        "attempts": measured(connection, tries, ["attempt_number"], mart="recovery_by_attempt_number"),
        "firsts": _firsts(connection),
        **{name: rows(connection, sql) for name, sql in QUERIES.items()},
    }


def _shares(reasons: Rows) -> Rows:
    """With each reason's share of its currency, by currency and the largest first."""
    whole: dict[str, int] = {}
    for row in reasons:
        whole[row["currency"]] = whole.get(row["currency"], 0) + row["recovered_amount_minor"]
    found = [
        row
        | {
            "all_amount_minor": whole[row["currency"]],
            "share": row["recovered_amount_minor"] / whole[row["currency"]],
        }
        for row in reasons
    ]
    return sorted(found, key=lambda row: (row["currency"], -row["recovered_amount_minor"]))


def _firsts(connection: duckdb.DuckDBPyConnection) -> Rows:
    names = ("first_attempt_count", "failed_first_attempt_count", "failure_rate_count")
    (found,) = measured(connection, names)
    (span,) = rows(
        connection, f"SELECT min(day) AS first_day, max(day) AS last_day FROM recovery_daily WHERE {MODE}"
    )
    return [found | span]
