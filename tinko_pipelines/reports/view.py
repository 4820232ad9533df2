"""All that the report's page shows, gathered from an opened snapshot: rows as they are queried, and pictures of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports import pictures, words
from tinko_pipelines.reports.breakdowns import MONTHS_MAX, breakdowns
from tinko_pipelines.reports.change import change, mature_months
from tinko_pipelines.reports.figures import CURRENCIES_MAX, figures
from tinko_pipelines.reports.glossary import explained, glossary
from tinko_pipelines.reports.losses import CODES_MAX, losses
from tinko_pipelines.reports.slices import slices

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


def view(connection: duckdb.DuckDBPyConnection, totals: Row) -> Row:
    """What the template needs by name, `totals` being the summary; merchant and moment are the caller's."""
    found = figures(connection)
    more = breakdowns(connection)
    currencies = list(totals["by_currency"])
    return {
        "totals": totals,
        "span": found["span"][0],
        "firsts": found["firsts"][0],
        "change": change(connection, currencies[:CURRENCIES_MAX]),
        "currencies_max": CURRENCIES_MAX,
        "months_left_out": max(0, len(found["cohorts"]) - MONTHS_MAX),
        "cohorts": [
            pictures.with_bar(row, words.month(row["cohort_month"])) for row in found["cohorts"][-MONTHS_MAX:]
        ],
        "cohort_amounts": _recent(found["cohort_amounts"], currencies),
        "categories": [
            pictures.with_bar(row, words.category(row["category"])) for row in totals["by_category"]
        ],
        "reasons": totals["by_reason"],
        "reasons_bar": pictures.reasons_bar(totals["by_reason"]),
        "reason_amounts": found["reason_amounts"],
        "attempts": found["attempts"],
        "attempts_chart": pictures.attempts_chart(found["attempts"]),
        "costs": found["costs"],
        "curves": pictures.curves(found["curve"]),
        "cash": pictures.cash(found["cash"]),
        "losses": _losses(connection, currencies),
        "hours": _hours(more["hours"]),
        "hours_chart": pictures.hours_chart(more["hours"]),
        "subscriptions": _by_month(more["saved"], "cohort_month", ("at_risk", "saved", "undecided", "ended")),
        "churn": _by_month(more["churn"], "ended_month", ("ended", "involuntary", "left_while_owing")),
        **{
            name: more[name]
            for name in ("weekdays", "mails", "risk", "predicted", "uplift", "compliance", "restated")
        },
        "slices": slices(connection),
        "glossary": glossary(connection),
        "explained": explained(connection),
    }


def _recent(rows: list[Row], currencies: list[str]) -> list[Row]:
    """The rows of the last months, of the currencies that are shown."""
    months = sorted({row["cohort_month"] for row in rows})[-MONTHS_MAX:]
    shown = set(currencies[:CURRENCIES_MAX])
    return [row for row in rows if row["cohort_month"] in months and row["currency"] in shown]


def _losses(connection: duckdb.DuckDBPyConnection, currencies: list[str]) -> Row:
    """The codes of each currency over everything, and over the last mature month."""
    shown = currencies[:CURRENCIES_MAX]
    whole, last = losses(connection), _last_month(connection)
    of_month = losses(connection, f"cohort_month = date '{last}'") if last else {}
    return {
        "month": last,
        "by_currency": [
            {
                "currency": currency,
                "codes": whole[currency][:CODES_MAX],
                "left_out": max(0, len(whole[currency]) - CODES_MAX),
                "month": of_month.get(currency, [])[:CODES_MAX],
            }
            for currency in shown
            if currency in whole
        ],
    }


def _last_month(connection: duckdb.DuckDBPyConnection) -> Any:
    months = mature_months(connection)
    return months[0] if months else None


def _hours(rows: list[Row]) -> dict[int, dict[int, Row]]:
    """The rows by hour and then by weekday."""
    hours: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        hours[row["hour_of_day"]][row["weekday"]] = row
    return dict(sorted(hours.items()))


def _by_month(rows: list[Row], month: str, counted: tuple[str, ...]) -> list[Row]:
    """One row a month with its counts added up, and its currencies' rows in `amounts`."""
    months: dict[Any, Row] = {}
    for row in rows:
        one = months.setdefault(row[month], {"month": row[month], "amounts": [], **dict.fromkeys(counted, 0)})
        one["amounts"].append(row)
        for name in counted:
            one[name] += row[name]
    return list(months.values())
