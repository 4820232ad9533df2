"""Classifies an Arrow table: each distinct decline once, then back to its rows. The rules live in `classify`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

import pyarrow as pa

from tinko_pipelines.declines.classify import Predictor, classify
from tinko_pipelines.declines.records import DECLINE_FIELDS, Decline

VERDICT_SCHEMA = pa.schema(
    [
        ("category", pa.string()),
        ("move", pa.string()),
        ("reason", pa.string()),
        ("rule", pa.string()),
        ("source", pa.string()),
        ("confidence", pa.float64()),
        ("retry_same_card", pa.bool_()),
        ("wait_hours", pa.float64()),
        ("customer_reason", pa.string()),
    ]
)


def classify_table(table: pa.Table, on: date, text_model: Predictor | None = None) -> pa.Table:
    """The same rows in the same order with the columns of `VERDICT_SCHEMA` added or replaced."""
    names = [name for name in DECLINE_FIELDS if name in table.column_names]
    columns = [table.column(name).to_pylist() for name in names]
    number_of: dict[str, int] = {}
    declines: list[Decline] = []
    positions: list[int] = []
    for row in range(table.num_rows):
        decline = Decline.of({name: column[row] for name, column in zip(names, columns, strict=True)})
        key = repr(decline)
        if key not in number_of:
            number_of[key] = len(declines)
            declines.append(decline)
        positions.append(number_of[key])
    verdicts = [asdict(classify(decline, on, text_model)) for decline in declines]
    distinct = pa.Table.from_pylist(verdicts, schema=VERDICT_SCHEMA)
    added = distinct.take(pa.array(positions, pa.int64()))
    kept = table.drop_columns([name for name in VERDICT_SCHEMA.names if name in table.column_names])
    for name in VERDICT_SCHEMA.names:
        kept = kept.append_column(name, added.column(name))
    return kept


def classify_payments(failed: pa.Table, on: date, text_model: Predictor | None = None) -> pa.Table:
    """Failed payments as the lake knows them, with their verdicts; their network and message go by the lake's names."""
    spoken = failed.append_column("network", failed.column("card_network"))
    spoken = spoken.append_column("message", failed.column("failure_message"))
    return classify_table(spoken, on, text_model).drop_columns(["network", "message"])
