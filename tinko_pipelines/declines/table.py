"""Classifies an Arrow table: each distinct decline once, then back to its rows. The rules live in `classify`.

Beside the answer itself, only a few small numbers are kept for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.declines.classify import Predictor, classify_many
from tinko_pipelines.declines.records import DECLINE_FIELDS, Decline, Verdict

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
COMBINATIONS_AT_ONCE = 16_384
ROWS_AT_ONCE = 1_048_576
"""A chunk of Arrow strings holds two gigabytes at most, which is more than so many reasons."""


def classify_table(table: pa.Table, on: date, text_model: Predictor | None = None) -> pa.Table:
    """The same rows in the same order with the columns of `VERDICT_SCHEMA` added or replaced."""
    told = table.select([name for name in DECLINE_FIELDS if name in table.column_names])
    if not told.num_columns:
        told = pa.table({"code": pa.nulls(table.num_rows)})
    rows, first = _combinations(told)
    verdicts = _verdicts(told.take(first), on, text_model)
    slices = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)] or [rows]
    added = pa.concat_tables(verdicts.take(pa.array(part)) for part in slices)
    kept = table.drop_columns([name for name in VERDICT_SCHEMA.names if name in table.column_names])
    for name in VERDICT_SCHEMA.names:
        kept = kept.append_column(name, added.column(name))
    return kept


def classify_payments(failed: pa.Table, on: date, text_model: Predictor | None = None) -> pa.Table:
    """Failed payments as the lake knows them, with their verdicts; their network and message go by the lake's names."""
    spoken = failed.append_column("network", failed.column("card_network"))
    spoken = spoken.append_column("message", failed.column("failure_message"))
    return classify_table(spoken, on, text_model).drop_columns(["network", "message"])


def _verdicts(distinct: pa.Table, on: date, text_model: Predictor | None) -> pa.Table:
    """The verdict on each row; only so many at once are Python's objects."""
    found = []
    for batch in distinct.combine_chunks().to_batches(COMBINATIONS_AT_ONCE):
        values = [batch.column(name).to_pylist() for name in batch.schema.names]
        told = [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True)]
        found.append(_as_table(classify_many([Decline.of(row) for row in told], on, text_model)))
    return pa.concat_tables(found).combine_chunks() if found else VERDICT_SCHEMA.empty_table()


def _combinations(told: pa.Table) -> tuple[Any, Any]:
    """For each row the number of its combination of values, and for each combination the first row that has it."""
    key = np.zeros(told.num_rows, dtype=np.int64)
    seen = 1
    for column in told.columns:
        codes, count = _coded(column)
        key, seen = key * count + codes, seen * count
        if seen >= 2**31:
            key, seen = _coded(pa.chunked_array([pa.array(key)]))
    rows, count = _coded(pa.chunked_array([pa.array(key)]))
    rows = rows - 1
    first = np.zeros(count - 1, dtype=np.int64)
    first[rows[::-1]] = np.arange(told.num_rows)[::-1]
    return rows, first


def _coded(column: pa.ChunkedArray) -> tuple[Any, int]:
    """Each value as a small number, 0 for a missing one, and how many numbers there are."""
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.int64), 1  # What is neither text nor number counts as missing.
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    coded = pc.dictionary_encode(plain.combine_chunks())
    codes = pc.fill_null(pc.add(coded.indices.cast(pa.int64()), 1), 0)
    return codes.to_numpy(zero_copy_only=False), len(coded.dictionary) + 1


def _as_table(verdicts: Sequence[Verdict]) -> pa.Table:
    arrays = [
        pa.array([getattr(verdict, column.name) for verdict in verdicts], column.type)
        for column in VERDICT_SCHEMA
    ]
    return pa.table(arrays, schema=VERDICT_SCHEMA)
