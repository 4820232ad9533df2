"""The core numbers in one object, for the command line, assets and the demo: read from the marts, never computed anew.

Counts of several accounts are added up, amounts only within a currency. Where there is live data, test data is
left out.
"""

from __future__ import annotations

from typing import Any

from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.settings import Settings

MODE = "livemode = (SELECT coalesce(bool_or(livemode), false) FROM recovery_debts)"
"""The mode that is reported: live as soon as anything live is there."""

TOTALS = f"""
SELECT coalesce(sum(failed_count), 0)::bigint AS failed_count,
  coalesce(sum(recovered_count), 0)::bigint AS recovered_count,
  coalesce(sum(closed_count), 0)::bigint AS closed_count,
  coalesce(sum(open_count), 0)::bigint AS open_count,
  coalesce(sum(in_recovery_count), 0)::bigint AS in_recovery_count,
  coalesce(sum(reversed_count), 0)::bigint AS reversed_count,
  sum(recovered_count) / nullif(sum(failed_count), 0) AS recovery_rate_count,
  sum(recovered_count) / nullif(sum(closed_count), 0) AS recovery_rate_closed_count,
  coalesce(bool_or(livemode), false) AS livemode, max(as_of) AS as_of
FROM recovery_summary WHERE {MODE}
"""
BY_CURRENCY = f"""
SELECT currency, sum(failed_count)::bigint AS failed_count, sum(recovered_count)::bigint AS recovered_count,
  sum(failed_amount_minor)::bigint AS failed_amount_minor,
  sum(recovered_amount_minor)::bigint AS recovered_amount_minor,
  sum(closed_amount_minor)::bigint AS closed_amount_minor,
  sum(recovered_amount_minor) / nullif(sum(failed_amount_minor), 0) AS recovery_rate_amount,
  sum(recovered_amount_minor) / nullif(sum(closed_amount_minor), 0) AS recovery_rate_closed_amount,
  sum(open_amount_minor)::bigint AS open_amount_minor,
  sum(in_recovery_amount_minor)::bigint AS in_recovery_amount_minor,
  sum(reversed_amount_minor)::bigint AS reversed_amount_minor
FROM recovery_summary WHERE {MODE} GROUP BY currency ORDER BY failed_count DESC, currency
"""
EFFORTS = f"""
SELECT coalesce(sum(executed_attempts), 0)::bigint AS attempts,
  coalesce(sum(messages_sent), 0)::bigint AS messages,
  sum(executed_attempts) / nullif(sum(recovered_count), 0) AS attempts_per_recovery,
  sum(messages_sent) / nullif(sum(recovered_count), 0) AS messages_per_recovery
FROM recovery_cost WHERE {MODE}
"""
BY_CATEGORY = f"""
SELECT category, any_value(usual_move ORDER BY failed_count DESC) AS usual_move,
  sum(failed_count)::bigint AS failed_count, sum(recovered_count)::bigint AS recovered_count,
  sum(closed_count)::bigint AS closed_count,
  sum(recovered_count) / nullif(sum(failed_count), 0) AS recovery_rate_count,
  sum(own_attempts)::bigint AS attempts, sum(messages_sent)::bigint AS messages,
  sum(own_attempts) / nullif(sum(recovered_count), 0) AS attempts_per_recovery,
  sum(messages_sent) / nullif(sum(recovered_count), 0) AS messages_per_recovery
FROM recovery_by_category WHERE {MODE} GROUP BY category ORDER BY failed_count DESC, category
"""
BY_REASON = f"""
SELECT recovered_by, sum(recovered_count)::bigint AS recovered_count,
  (sum(sum(recovered_count)) OVER ())::bigint AS all_recovered_count,
  sum(recovered_count) / sum(sum(recovered_count)) OVER () AS share_count
FROM recovery_by_reason WHERE {MODE} GROUP BY recovered_by ORDER BY recovered_count DESC, recovered_by
"""


def summary(settings: Settings) -> dict[str, Any]:
    """Counts, rates with their denominators, amounts by currency, and effort per recovery, from the snapshot."""
    with opened(settings) as connection:

        def rows(sql: str) -> list[dict[str, Any]]:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        totals = rows(TOTALS)[0]
        totals["as_of"] = totals["as_of"].isoformat() if totals["as_of"] else None
        return {
            **totals,
            "by_currency": {row.pop("currency"): row for row in rows(BY_CURRENCY)},
            **rows(EFFORTS)[0],
            "by_category": rows(BY_CATEGORY),
            "by_reason": rows(BY_REASON),
        }
