"""What was lost by decline code, and what one more attempt would have brought, if its debts were like those that got it.

The estimate is that of the mart recovery_by_attempt_number: what stopped after attempt n, times the success rate of attempt n + 1.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import MODE, measured, rows

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
CODES_MAX = 12
LOST = (
    "failed_count", "recovered_count", "recovery_rate_count", "failed_amount_minor", "lost_count", "lost_amount_minor",
    "never_retried_lost_count", "never_retried_lost_amount_minor",
)  # fmt: skip
STOPPED = """SELECT decline_code, currency, attempt_number, sum(stopped_count)::bigint AS stopped_count,
  sum(stopped_amount_minor)::bigint AS stopped_amount_minor FROM recovery_by_attempt_number
  WHERE {} AND stopped_count > 0 GROUP BY ALL ORDER BY ALL"""
NEXT = ("executed_count", "succeeded_count", "success_rate")


def losses(connection: duckdb.DuckDBPyConnection, where: str = "true") -> dict[str, list[Row]]:
    """By currency, its decline codes with what was lost of them, the most first, and what one more attempt would have brought.

    `where` is a condition on the cohort; success rates of the next attempt are always those of all cohorts and currencies.
    """
    tried = measured(connection, NEXT, ["decline_code", "attempt_number"], mart="recovery_by_attempt_number")
    chances = {(row["decline_code"], row["attempt_number"]): row for row in tried}
    stopped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows(connection, STOPPED.format(f"{MODE} AND {where}")):
        stopped[row["decline_code"], row["currency"]].append(row)
    found: dict[str, list[Row]] = defaultdict(list)
    for row in measured(connection, LOST, ["decline_code", "currency"], where, "recovery_by_decline_code"):
        code = row["decline_code"]
        found[row["currency"]].append(row | _one_more(stopped[code, row["currency"]], code, chances))
    for codes in found.values():
        codes.sort(key=lambda row: (-row["lost_amount_minor"], -row["failed_count"], row["decline_code"]))
    return dict(found)


def _one_more(stopped: list[Row], code: str, chances: dict[tuple[str, int], Row]) -> Row:
    """What stopped after its last attempt; the part of it whose next attempt was made on other debts; what that would have brought."""
    judged = [(row, chances.get((code, row["attempt_number"] + 1))) for row in stopped]
    pairs = [(row, after) for row, after in judged if after]
    return {
        "stopped_count": sum(row["stopped_count"] for row in stopped),
        "stopped_amount_minor": sum(row["stopped_amount_minor"] for row in stopped),
        "judged_count": sum(row["stopped_count"] for row, _ in pairs),
        "judged_amount_minor": sum(row["stopped_amount_minor"] for row, _ in pairs),
        "one_more_minor": round(
            sum(row["stopped_amount_minor"] * after["success_rate"] for row, after in pairs)
        ),
        "next_executed_count": sum(after["executed_count"] for _, after in pairs),
        "next_succeeded_count": sum(after["succeeded_count"] for _, after in pairs),
    }
