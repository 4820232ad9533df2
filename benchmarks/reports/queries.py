"""What analysts ask of the snapshot, and how long it takes: tables of rates, and all there is of one debt."""

from __future__ import annotations

import time

import duckdb

from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.settings import Settings

ROUNDS = 20
MARTS = (
    "SELECT cohort_month, sum(failed_count), sum(recovered_count) FROM recovery_cohorts GROUP BY 1 ORDER BY 1",
    "SELECT decline_code, sum(lost_amount_minor) FROM recovery_by_decline_code WHERE currency = 'usd' GROUP BY 1 ORDER BY 2 DESC",
    "SELECT day, sum(cash_amount_minor) FROM recovery_daily WHERE currency = 'usd' GROUP BY 1 ORDER BY 1 DESC LIMIT 90",
    "SELECT day, recovered_incidence FROM time_to_recover WHERE category = 'all' ORDER BY 1",
    "SELECT attempt_number, sum(succeeded_count) / sum(executed_count) FROM recovery_by_attempt_number GROUP BY 1 ORDER BY 1",
    "SELECT hour_of_day, sum(succeeded_count) FROM recovery_by_hour GROUP BY 1 ORDER BY 1",
    "SELECT step, sum(followed_count) FROM recovery_by_message_step GROUP BY 1 ORDER BY 1",
    "SELECT recovered_by, sum(recovered_count) FROM recovery_by_method GROUP BY 1",
    "SELECT standing, age_band, sum(open_amount_minor) FROM revenue_at_risk GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT cohort_month, sum(executed_attempts) FROM retry_costs GROUP BY 1 ORDER BY 1",
)
ONE_DEBT = (
    "SELECT * FROM fct_failed_payments WHERE account_id = $account AND debt_id = $debt",
    "SELECT * FROM fct_attempts WHERE account_id = $account AND debt_id = $debt ORDER BY n",
    "SELECT * FROM fct_messages WHERE account_id = $account AND debt_id = $debt ORDER BY step",
)


def asked(settings: Settings) -> dict[str, float]:
    """The 95th percentile, in milliseconds, of the marts' queries and of one debt with all that was done for it."""
    with opened(settings) as connection:
        marts = [_milliseconds(connection, sql, {}) for _ in range(ROUNDS) for sql in MARTS]
        debts = connection.execute(
            "SELECT account_id, debt_id FROM fct_failed_payments ORDER BY hash(debt_id) LIMIT ?", [ROUNDS]
        ).fetchall()
        single = [
            sum(_milliseconds(connection, sql, {"account": account, "debt": debt}) for sql in ONE_DEBT)
            for account, debt in debts
        ]
    return {"marts_p95_ms": _p95(marts), "one_debt_p95_ms": _p95(single)}


def _milliseconds(connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, str]) -> float:
    began = time.perf_counter()
    connection.execute(sql, values or None).fetchall()
    return (time.perf_counter() - began) * 1000


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
