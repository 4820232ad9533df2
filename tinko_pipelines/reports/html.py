"""Writes the HTML report: one file that opens anywhere, with no network, for a person who has one minute.

This module turns figures into what the page shows; the page's words and style are in `templates/`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports import words
from tinko_pipelines.reports.charts import Column, Line, columns, stacked, steps
from tinko_pipelines.reports.figures import figures
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.reports.summary import summary
from tinko_pipelines.settings import Settings

CURVE_DAYS = (0, 7, 14, 21, 28, 42, 60)
Row = dict[str, Any]


def write_report(settings: Settings, as_of: datetime) -> Path:
    """Write the report of the published snapshot, as of business time `as_of`, and return its path.

    The old report stays until the new one is whole. Raises StoreError when there is no snapshot or no room.
    """
    totals = summary(settings)
    with opened(settings) as connection:
        found = figures(connection)
    built = datetime.fromisoformat(totals["as_of"]) if totals["as_of"] else as_of
    text = _render(_view(settings, totals, found, built.astimezone(UTC)))
    path = settings.report_path
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreError(
            f"the report cannot be written to {path}: {error.strerror}; make room or check its rights"
        ) from error
    return path


def _render(view: Row) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tinko_pipelines.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    return environment.get_template("recovery.html.j2").render(view)


def _view(settings: Settings, totals: Row, found: dict[str, list[Row]], built: datetime) -> Row:
    return {
        "merchant": settings.merchant_name,
        "built": built,
        "totals": totals,
        "span": found["span"][0],
        "firsts": found["firsts"][0],
        "cohorts": [_with_bar(row, words.month(row["cohort_month"])) for row in found["cohorts"]],
        "cohort_amounts": found["cohort_amounts"],
        "categories": [_with_bar(row, words.category(row["category"])) for row in totals["by_category"]],
        "reasons": totals["by_reason"],
        "reasons_bar": _reasons_bar(totals["by_reason"]),
        "reason_amounts": found["reason_amounts"],
        "attempts": found["attempts"],
        "attempts_chart": _attempts_chart(found["attempts"]),
        "costs": found["costs"],
        "curves": _curves(found["curve"]),
        "cash": _cash(found["cash"]),
    }


def _with_bar(row: Row, name: str) -> Row:
    """A row with the bar of what became of its debts: recovered, closed without, still open."""
    recovered, closed, failed = row["recovered_count"], row["closed_count"], row["failed_count"]
    parts = (("recovered", recovered), ("lost", closed - recovered), ("open", failed - closed))
    alt = f"{name}: {recovered} recovered, {closed - recovered} closed without, {failed - closed} still open"
    return {**row, "name": name, "bar": stacked(parts, failed, alt)}


def _reasons_bar(reasons: list[Row]) -> str:
    order = [(row["recovered_by"], row["recovered_count"]) for row in reasons]
    alt = "; ".join(f"{words.REASONS[name][0]} {number}" for name, number in order)
    return stacked(
        order, sum(number for _, number in order), f"Recovered debts by what brought the money: {alt}"
    )


def _attempts_chart(rows: list[Row]) -> str:
    data = [
        Column(
            words.nth(row["executed_n"]),
            row["success_rate"],
            words.percent(row["success_rate"]),
            pale=row["executed_count"] < 30,
        )
        for row in rows
    ]
    told = "; ".join(
        f"{column.label} {column.note}, {words.of(row['succeeded_count'], row['executed_count'])}"
        for column, row in zip(data, rows, strict=True)
    )
    return columns(data, f"Share of attempts that succeeded: {told}", tick=lambda share: f"{share:.0%}")


def _curves(rows: list[Row]) -> list[Row]:
    accounts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        accounts[row["account_id"]].append(row)
    return [_curve(account, days) for account, days in accounts.items()]


def _curve(account: str, days: list[Row]) -> Row:
    seen = [row for row in days if row["at_risk_count"] > 0 or row["day"] == 0]
    last = seen[-1]
    lines = [
        Line([(row["day"], row["recovered_incidence"]) for row in seen], "curve-recovered", "recovered"),
        Line(
            [(row["day"], row["canceled_incidence"]) for row in seen],
            "curve-canceled",
            "cancelled or given back",
        ),
    ]
    alt = f"Estimated share recovered by day {last['day']}: {words.percent(last['recovered_incidence'])}"
    chart = steps(lines, alt, ticks=CURVE_DAYS, unit="days")
    marks = [row for row in days if row["day"] in CURVE_DAYS[1:]]
    return {
        "account": account,
        "failed_count": last["failed_count"],
        "chart": chart,
        "marks": marks,
        "seen": last["day"],
    }


def _cash(rows: list[Row]) -> list[Row]:
    currencies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        currencies[row["currency"]].append(row)
    return [_cash_of(currency, days) for currency, days in currencies.items()]


def _cash_of(currency: str, days: list[Row]) -> Row:
    data = [
        Column(
            words.short_day(row["day"]), row["recovered_minor"], words.money(row["recovered_minor"], currency)
        )
        for row in days
    ]
    weeks: dict[date, Row] = {}
    for row in days:
        monday = row["day"] - timedelta(days=row["day"].weekday())
        week = weeks.setdefault(monday, {"week": monday, "recovered_count": 0, "recovered_minor": 0})
        week["recovered_count"] += row["recovered_count"]
        week["recovered_minor"] += row["recovered_minor"]
    total = sum(row["recovered_minor"] for row in days)
    alt = (
        f"Recovered {currency.upper()} by day of payment, {words.day(days[0]['day'])} to"
        f" {words.day(days[-1]['day'])}: {words.money(total, currency)} in all"
    )
    chart = columns(data, alt, tick=lambda minor: words.short_money(minor, currency), height=170)
    return {"currency": currency, "chart": chart, "weeks": list(weeks.values()), "total": total, "days": days}
