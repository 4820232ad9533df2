"""The core numbers in one object, for the command line, assets and the demo: metrics of the snapshot, nothing computed anew.

Counts of several accounts are added up, amounts only within a currency. Where there is live data, test data is
left out.
"""

from __future__ import annotations

from typing import Any

from tinko_pipelines.reports.metrics import MODE, measured
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.settings import Settings

TOTALS = (
    "failed_count", "recovered_count", "closed_count", "open_count", "in_recovery_count", "lost_count",
    "reversed_count", "restated_count", "recovery_rate_count", "recovery_rate_closed_count",
)  # fmt: skip
AMOUNTS = (
    "failed_count", "recovered_count", "failed_amount_minor", "recovered_amount_minor", "closed_amount_minor",
    "lost_amount_minor", "recovery_rate_amount", "recovery_rate_closed_amount", "open_amount_minor",
    "in_recovery_amount_minor", "reversed_amount_minor",
)  # fmt: skip
PARTS = (
    "failed_count", "recovered_count", "closed_count", "recovery_rate_count", "own_attempts", "messages_sent",
    "attempts_per_recovery", "messages_per_recovery",
)  # fmt: skip


def summary(settings: Settings) -> dict[str, Any]:
    """Counts, rates with their denominators, amounts by currency, and effort per recovery, from the snapshot."""
    with opened(settings) as connection:
        (totals,) = measured(connection, TOTALS)
        (attempts,) = measured(connection, ("executed_count",))
        (mails,) = measured(connection, ("sent_count",))
        (effort,) = measured(connection, ("attempts_per_recovery", "messages_per_recovery"))
        moment, livemode = connection.execute(
            f"SELECT max(as_of), (SELECT coalesce(bool_or(livemode), false) FROM fct_failed_payments WHERE {MODE}) FROM build_info"
        ).fetchall()[0]
        amounts = sorted(
            measured(connection, AMOUNTS, ["currency"]),
            key=lambda row: (-row["failed_count"], row["currency"]),
        )
        categories = sorted(
            measured(connection, PARTS, ["category"], mart="recovery_by_category"),
            key=lambda row: (-row["failed_count"], row["category"]),
        )
        moves = {}
        usual = measured(connection, ("failed_count",), ["category", "move"], mart="recovery_by_category")
        for row in sorted(usual, key=_by_count):
            moves[row["category"]] = row["move"]
        reasons = sorted(
            measured(connection, ("recovered_count",), ["recovered_by"], mart="recovery_by_method"),
            key=_by_count,
            reverse=True,
        )
    whole = sum(row["recovered_count"] for row in reasons)
    return {
        **totals,
        "livemode": livemode,
        "as_of": moment.isoformat() if moment else None,
        "by_currency": {row.pop("currency"): row for row in amounts},
        "attempts": attempts["executed_count"],
        "messages": mails["sent_count"],
        **effort,
        "by_category": [{**row, "usual_move": moves[row["category"]]} for row in categories],
        "by_reason": [
            {**row, "all_recovered_count": whole, "share_count": row["recovered_count"] / whole}
            for row in reasons
        ],
    }


def _by_count(row: dict[str, Any]) -> tuple[int, str]:
    """The fewest first."""
    count = row.get("failed_count", row.get("recovered_count", 0))
    return count, str(row.get("move", row.get("recovered_by")))
