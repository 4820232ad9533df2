"""The report in a few sentences and three small tables, for those who do not open it: a mail's body, an asset's metadata.

Everything is text here; whoever shows it escapes it as its own format wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tinko_pipelines.reports import words
from tinko_pipelines.reports.change import change
from tinko_pipelines.reports.figures import CURRENCIES_MAX, MATURE
from tinko_pipelines.reports.losses import losses
from tinko_pipelines.reports.metrics import measured, rows
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.reports.summary import summary
from tinko_pipelines.settings import Settings

MONTHS_MAX = 6
RATES = ("failed_count", "recovered_count", "recovery_rate_count")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """A line of a table: its name, how many of how many, the rate, and what else is to be known of it."""

    name: str
    part: int
    whole: int
    rate: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Digest:
    """What is to be known in a minute; `changes` are (rate, now, change, before), as text."""

    as_of: datetime | None
    headline: str
    sentences: tuple[str, ...]
    compared: str
    changes: tuple[tuple[str, str, str, str], ...]
    months: tuple[Share, ...]
    categories: tuple[Share, ...]


def digest(settings: Settings) -> Digest:
    """The digest of the published snapshot. Raises StoreError when there is none."""
    totals = summary(settings)
    currencies = list(totals["by_currency"])
    with opened(settings) as connection:
        found = change(connection, currencies[:CURRENCIES_MAX])
        mature = {row["cohort_month"]: row["is_mature"] for row in rows(connection, MATURE)}
        months = measured(connection, RATES, ["cohort_month"], mart="recovery_cohorts")[-MONTHS_MAX:]
        of_month = losses(connection, f"cohort_month = date '{found['now']}'") if found else {}
    return Digest(
        as_of=datetime.fromisoformat(totals["as_of"]) if totals["as_of"] else None,
        headline=_headline(totals),
        sentences=(
            *(
                _amounts(currency, totals["by_currency"][currency])
                for currency in currencies[:CURRENCIES_MAX]
            ),
            *(_lost(of_month, found["now"], currencies[:1]) if found else ()),
        ),
        compared=_compared(found),
        changes=tuple(_change(row) for row in found["rates"]) if found and found["before"] else (),
        months=tuple(
            _share(
                words.month(row["cohort_month"]), row, "" if mature[row["cohort_month"]] else "still maturing"
            )
            for row in months
        ),
        categories=tuple(_share(words.category(row["category"]), row) for row in totals["by_category"]),
    )


def _headline(totals: Row) -> str:
    if not totals["failed_count"]:
        return "No payment has failed: there is nothing to recover."
    return (
        f"{words.percent(totals['recovery_rate_count'])} of failed payments were recovered:"
        f" {words.of(totals['recovered_count'], totals['failed_count'])}; {words.count(totals['open_count'])} are still open."
    )


def _amounts(currency: str, row: Row) -> str:
    recovered = words.amount_of(row["recovered_amount_minor"], row["failed_amount_minor"], currency)
    return (
        f"{currency.upper()}: {words.percent(row['recovery_rate_amount'])} recovered, {recovered} failed;"
        f" {words.money(row['open_amount_minor'], currency)} still at risk."
    )


def _lost(of_month: dict[str, list[Row]], month: Any, currencies: list[str]) -> list[str]:
    """The code that lost most in the last mature month, of the largest currency."""
    return [
        f"Of what failed in {words.month(month)}, {codes[0]['decline_code']} lost most:"
        f" {words.money(codes[0]['lost_amount_minor'], currency)} in"
        f" {words.of(codes[0]['lost_count'], codes[0]['failed_count'])} debts."
        for currency in currencies
        if (codes := of_month.get(currency)) and codes[0]["lost_amount_minor"]
    ]


def _compared(found: Row | None) -> str:
    if not found:
        return "No month is mature yet, so there is nothing to compare."
    if not found["before"]:
        return f"{words.month(found['now'])} is the only month that is mature; there is none before to compare it with."
    return f"What failed in {words.month(found['now'])}, the last mature month, beside {words.month(found['before'])}."


def _change(row: Row) -> tuple[str, str, str, str]:
    name = row["label"] + (f", {row['currency'].upper()}" if row["currency"] else "")
    return (
        name,
        _side(row["now"], row["currency"]),
        words.points(row["points"]),
        _side(row["before"], row["currency"]),
    )


def _side(side: Row, currency: str | None) -> str:
    if not side:
        return words.NONE
    parts = (
        words.amount_of(side["part"], side["whole"], currency)
        if currency
        else words.of(side["part"], side["whole"])
    )
    return f"{words.percent(side['rate'])} ({parts})"


def _share(name: str, row: Row, note: str = "") -> Share:
    return Share(name, row["recovered_count"], row["failed_count"], row["recovery_rate_count"], note)
