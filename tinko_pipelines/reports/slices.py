"""Failed and recovered debts by what can be told apart about them: plan, country, card, amount, policy, arm."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import measured

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
VALUES_MAX = 12
COUNTS = (
    "failed_count",
    "recovered_count",
    "recovery_rate_count",
    "closed_count",
    "recovery_rate_closed_count",
)
AMOUNTS = ("failed_amount_minor", "recovered_amount_minor", "recovery_rate_amount")


@dataclass(frozen=True, slots=True)
class Slice:
    """A column to slice by, its name for people, and what a row without a value is called."""

    column: str
    name: str
    unknown: str = "not known"


SLICES = (
    Slice("account_id", "Account"),
    Slice("plan_name", "Plan", "no plan"),
    Slice("card_country", "Country of the card"),
    Slice("card_brand", "Card brand"),
    Slice("card_funding", "Card funding"),
    Slice("card_issuer", "Card issuer"),
    Slice("payment_method_type", "Payment method"),
    Slice("amount_band", "Amount, in units of its currency"),
    Slice("policy_version", "Policy", "no case"),
    Slice("model_version", "Timing model", "no model"),
    Slice("experiment_arm", "Arm of the experiment"),
)


def slices(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Each slice with its largest values, each with counts and with amounts by currency, and how many values were left out.

    A slice of which nothing is known is there without values, so that its lack is seen.
    """
    return [_sliced(connection, one) for one in SLICES]


def _sliced(connection: duckdb.DuckDBPyConnection, one: Slice) -> Row:
    counts = measured(connection, COUNTS, [one.column])
    counts.sort(key=lambda row: (-row["failed_count"], str(row[one.column])))
    known = any(row[one.column] not in (None, "none") for row in counts)
    shown = {row[one.column] for row in counts[:VALUES_MAX]}
    amounts: dict[Any, list[Row]] = defaultdict(list)
    if known:
        for row in measured(connection, AMOUNTS, [one.column, "currency"]):
            if row[one.column] in shown:
                amounts[row[one.column]].append(row)
    return {
        "slice": one,
        "known": known,
        "values": [
            row
            | {
                "value": one.unknown if row[one.column] is None else row[one.column],
                "amounts": sorted(amounts[row[one.column]], key=lambda each: -each["failed_amount_minor"]),
            }
            for row in counts[:VALUES_MAX]
        ],
        "left_out": max(0, len(counts) - VALUES_MAX),
    }
