"""Headline rates of the last mature month beside those of the mature month before it. Both are months of failure.

A month that is not mature would fall short of any before it, so it is compared with none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import sqrt
from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import MODE, catalogue, measured, rows

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
MATURE_MONTHS = f"""SELECT cohort_month FROM recovery_cohorts WHERE {MODE}
  GROUP BY cohort_month HAVING bool_and(is_mature) ORDER BY cohort_month DESC LIMIT 2"""
FIRST_DAY = f"SELECT min(day) AS first_day FROM recovery_daily WHERE {MODE}"


def mature_months(connection: duckdb.DuckDBPyConnection) -> list[date]:
    """The last two months whose every cohort is mature, the later first; fewer where there are none."""
    return [row["cohort_month"] for row in rows(connection, MATURE_MONTHS)]


def change(connection: duckdb.DuckDBPyConnection, currencies: Sequence[str]) -> Row | None:
    """The last mature month, the one before (None when there is none), and each rate of both; None without any month.

    A rate's `by_chance` is how far two shares of so many differ nineteen times in twenty when nothing has changed; None for amounts,
    whose spread counts do not tell.
    """
    months = mature_months(connection)
    if not months:
        return None
    now, before = months[0], months[1] if len(months) > 1 else None
    first_day = rows(connection, FIRST_DAY)[0]["first_day"]
    partial = first_day if before and first_day and first_day > before else None
    cohort = ("recovery_cohorts", "cohort_month = date '{}'")
    daily = ("recovery_daily", "date_trunc('month', day) = date '{}'")
    wanted = [
        ("recovery_rate_count", cohort),
        ("recovery_rate_closed_count", cohort),
        ("failure_rate_count", daily),
        ("recovery_rate_amount", cohort),
    ]
    pairs = []
    for metric, (mart, where) in wanted:
        pairs += _pairs(connection, metric, mart, [where.format(month) for month in months])
    order = {currency: number for number, currency in enumerate(currencies)}
    pairs.sort(key=lambda pair: order.get(pair["currency"], len(order)) if pair["currency"] else -1)
    return {"now": now, "before": before, "known_from": partial, "rates": pairs}


def _pairs(connection: duckdb.DuckDBPyConnection, metric: str, mart: str, wheres: list[str]) -> list[Row]:
    """A rate with its denominator in each of the months, by currency where it is one of amounts."""
    one = catalogue(connection)[metric]
    names = (metric, str(one.numerator), str(one.denominator))
    found: dict[str | None, list[Row]] = {}
    for number, where in enumerate(wheres):
        for row in measured(connection, names, where=where, mart=mart):
            side = {"rate": row[metric], "part": row[names[1]], "whole": row[names[2]]}
            found.setdefault(row.get("currency"), [{} for _ in wheres])[number] = side
    return [
        {"metric": metric, "label": one.label, "currency": currency, **_difference(sides, one.is_amount)}
        for currency, sides in found.items()
    ]


def _difference(sides: list[Row], is_amount: bool) -> Row:
    now, before = sides[0], sides[1] if len(sides) > 1 else {}
    told: Row = {"now": now, "before": before, "points": None, "by_chance": None}
    if now.get("rate") is None or before.get("rate") is None:
        return told
    told["points"] = now["rate"] - before["rate"]
    if not is_amount:
        wholes = (now["whole"], before["whole"])
        share = (now["part"] + before["part"]) / sum(wholes)
        told["by_chance"] = 1.96 * sqrt(share * (1 - share) * sum(1 / whole for whole in wholes))
    return told
