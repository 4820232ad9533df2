"""The ledger as Parquet, for dbt and the invariants; they never open the database itself."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, Table, select
from sqlalchemy.engine import RowMapping

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.stamped import CHANGED_AT, stamped
from tinko_pipelines.ledger.schema import message, metadata
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime

_LEFT_OUT = {("webhook_event", "payload"), ("message_body", "content")}
"""What Stripe sent of a person and what we wrote to him, which nobody who reads the export needs."""

_BORN = ("created_at", "prepared_at", "due_at", "at")
"""What says when a row came to be; a table has the first of them that it has."""
_ROWS_TOGETHER = 60_000
"""Rows that are read or passed over together."""

CARD_MESSAGES = "card_message"
"""The messages about cards; those about debts alone are counted as what a debt took."""


def export(ledger: Ledger, folder: Path, now: datetime) -> dict[str, int]:
    """Write every table to `folder/<table>.parquet` as of one moment; rows by table, empty tables too.

    Messages about cards are in a file of their own. Rows lie by when they came to be, so that those of one time lie
    together: a build that mends opens little else. `changed_at` says of each row since which export it is as it is.
    """
    tables: dict[str, pa.Table] = {}
    with ledger.read() as connection:
        for table in metadata.sorted_tables:
            order = [table.columns[name] for name in export_order(table)]
            rows = connection.execute(select(table).order_by(*order)).mappings().all()
            tables[table.name] = _arrow(
                table, [row for row in rows if table is not message or row["case_id"]]
            )
            if table is message:
                tables[CARD_MESSAGES] = _arrow(table, [row for row in rows if row["case_id"] is None])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in tables.items():
            table = message if name == CARD_MESSAGES else metadata.tables[name]
            write_stamped(folder / f"{name}.parquet", content, table, now)
    except OSError as error:
        raise StoreError(
            f"the ledger cannot be exported to {folder}: {error.strerror or error}; make room or check its rights"
        ) from error
    return {name: content.num_rows for name, content in tables.items()}


def write_stamped(path: Path, content: pa.Table, table: Table, now: datetime) -> None:
    """Put the rows of a table in the place of the file, with `changed_at` unless the table has one of its own."""
    key = [column.name for column in table.primary_key.columns]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    told = content if CHANGED_AT in table.columns else stamped(content, path, key, now)
    pq.write_table(told, partial, compression="zstd", row_group_size=_ROWS_TOGETHER)
    partial.replace(path)


def export_order(table: Table) -> list[str]:
    """The columns that a table is exported in the order of."""
    born = next((name for name in _BORN if name in table.columns), None)
    return [
        *([born] if born else []),
        *(column.name for column in table.primary_key.columns if column.name != born),
    ]


def export_schema(table: Table) -> pa.Schema:
    """The columns of a table as they are exported."""
    columns = [column for column in table.columns if (table.name, column.name) not in _LEFT_OUT]
    return pa.schema([pa.field(column.name, _arrow_type(column)) for column in columns])


def _arrow(table: Table, mappings: Sequence[RowMapping]) -> pa.Table:
    schema = export_schema(table)
    arrays = [pa.array([row[field.name] for row in mappings], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_type(column: Column[object]) -> pa.DataType:
    if isinstance(column.type, UtcDateTime):
        return pa.timestamp("us", tz="UTC")
    if isinstance(column.type, Boolean):
        return pa.bool_()
    if isinstance(column.type, Float):
        return pa.float64()
    if isinstance(column.type, (Integer, BigInteger)):
        return pa.int64()
    return pa.string()
