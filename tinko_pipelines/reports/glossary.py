"""What each metric means and what it comes to, as the snapshot itself says, so that the report's words are those of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import Metric, catalogue, measured, rows

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
MARTS = {
    "fct_failed_payments": "Failed payments, one row each",
    "recovery_cohorts": "By month of failure",
    "time_to_recover": "How long it takes",
    "recovery_by_decline_code": "By decline code",
    "recovery_by_attempt_number": "By attempt",
    "recovery_by_hour": "By hour",
    "recovery_by_message_step": "By mail",
    "retry_costs": "Cost",
    "network_compliance": "Rules of the card networks",
    "revenue_at_risk": "At risk",
    "predicted_recovery": "Expected to come",
    "subscriptions_saved": "Subscriptions saved",
    "involuntary_churn": "Subscriptions lost",
    "experiment_uplift": "Uplift",
    "recovery_daily": "Cash by day",
}


def glossary(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Every metric with its definition and its values over everything: one, or one for each currency."""
    known = catalogue(connection)
    values: dict[str, list[Row]] = {name: [] for name in known}
    for table in sorted({one.made_of for one in known.values()}):
        for of_amounts in (False, True):
            names = [n for n, one in known.items() if one.made_of == table and one.is_amount == of_amounts]
            for row in measured(connection, names) if names else []:
                for name in names:
                    values[name].append(_value(known[name], row))
    return [{"metric": one, "values": values[name]} for name, one in known.items()]


def explained(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """What the marts that are shown hold, in their own descriptions."""
    said = rows(connection, "SELECT table_name, comment FROM duckdb_tables() WHERE comment IS NOT NULL")
    about = {row["table_name"]: row["comment"] for row in said}
    return [
        {"mart": mart, "title": title, "about": about[mart]} for mart, title in MARTS.items() if mart in about
    ]


def _value(one: Metric, row: Row) -> Row:
    parts = {"part": row.get(str(one.numerator)), "whole": row.get(str(one.denominator))}
    return {"currency": row.get("currency"), "value": row[one.name], **parts}
