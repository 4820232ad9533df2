"""The ledger as Parquet, for dbt and the invariants; they never open the database itself."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, Table, select
from sqlalchemy.engine import RowMapping

from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger.schema import message, metadata
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime

_LEFT_OUT = {("webhook_event", "payload"), ("message_body", "content")}
"""What Stripe sent of a person and what we wrote to him, which nobody who reads the export needs."""

CARD_MESSAGES = "card_message"
"""The messages about cards; those about debts alone are counted as what a debt took."""


def export(ledger: Ledger, folder: Path) -> dict[str, int]:
    """Write every table to `folder/<table>.parquet` as of one moment; rows by table, empty tables too.

    Messages about cards are in a file of their own.
    """
    tables: dict[str, pa.Table] = {}
    with ledger.read() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings().all()
            tables[table.name] = _arrow(
                table, [row for row in rows if table is not message or row["case_id"]]
            )
            if table is message:
                tables[CARD_MESSAGES] = _arrow(table, [row for row in rows if row["case_id"] is None])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in tables.items():
            partial = folder / f".{name}.{os.getpid()}.partial"
            pq.write_table(content, partial, compression="zstd")
            partial.replace(folder / f"{name}.parquet")
    except OSError as error:
        raise StoreError(
            f"the ledger cannot be exported to {folder}: {error.strerror or error}; make room or check its rights"
        ) from error
    return {name: content.num_rows for name, content in tables.items()}


def _arrow(table: Table, mappings: Sequence[RowMapping]) -> pa.Table:
    columns = [column for column in table.columns if (table.name, column.name) not in _LEFT_OUT]
    fields = [pa.field(column.name, _arrow_type(column)) for column in columns]
    arrays = [pa.array([row[field.name] for row in mappings], type=field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


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
