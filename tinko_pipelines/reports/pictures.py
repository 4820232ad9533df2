"""The report's pictures: which figures become which chart, with what is said of them where they cannot be seen."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup

from tinko_pipelines.reports import words
from tinko_pipelines.reports.charts import Column, Line, columns, stacked, steps
from tinko_pipelines.reports.heat import Cell, heat

CURVE_DAYS = (0, 7, 14, 21, 28, 42, 60)
Row = dict[str, Any]


def with_bar(row: Row, name: str) -> Row:
    """A row with the bar of what became of its debts: recovered, closed without, still open."""
    recovered, closed, failed = row["recovered_count"], row["closed_count"], row["failed_count"]
    parts = (("recovered", recovered), ("lost", closed - recovered), ("open", failed - closed))
    alt = f"{name}: {recovered} recovered, {closed - recovered} closed without, {failed - closed} still open"
    return {**row, "name": name, "bar": stacked(parts, failed, alt)}


def reasons_bar(reasons: list[Row]) -> Markup:
    """What brought the money, as one bar."""
    order = [(row["recovered_by"], row["recovered_count"]) for row in reasons]
    alt = "; ".join(f"{words.REASONS[name][0]} {number}" for name, number in order)
    return stacked(
        order, sum(number for _, number in order), f"Recovered debts by what brought the money: {alt}"
    )


def attempts_chart(rows: list[Row]) -> Markup:
    """The share of first, second, third attempts that succeeded; pale where there were few."""
    data = [
        Column(
            words.nth(row["attempt_number"]),
            row["success_rate"],
            words.percent(row["success_rate"]),
            pale=row["executed_count"] < words.THIN,
        )
        for row in rows
    ]
    told = "; ".join(
        f"{column.label} {column.note}, {words.of(row['succeeded_count'], row['executed_count'])}"
        for column, row in zip(data, rows, strict=True)
    )
    return columns(data, f"Share of attempts that succeeded: {told}", tick=lambda share: f"{share:.0%}")


def hours_chart(rows: list[Row]) -> Markup:
    """The week as squares, an hour each."""
    cells = {
        (row["weekday"], row["hour_of_day"]): Cell(
            row["success_rate"],
            f"{words.WEEKDAYS[row['weekday']]} {row['hour_of_day']:02d}:00: {words.percent(row['success_rate'])},"
            f" {words.of(row['succeeded_count'], row['executed_count'])}",
            thin=row["executed_count"] < words.THIN,
        )
        for row in rows
    }
    told = [cell for cell in cells.values() if not cell.thin]
    alt = (
        f"Share of attempts that succeeded by weekday and hour, UTC: {len(cells)} hours of the week were tried,"
        f" {len(told)} of them {words.THIN} times or more; every number is in the table below"
    )
    return heat(cells, range(24), words.WEEKDAYS, alt)


def curves(rows: list[Row]) -> list[Row]:
    """The curve of each account, with what it says by each of the marked days."""
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


def cash(rows: list[Row]) -> list[Row]:
    """Each currency with its money by day as a chart, and by week."""
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
