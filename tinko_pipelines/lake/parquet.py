"""Tables as Parquet: read from a file whole or a group of rows at a time, and packed to be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError

ZSTD_WORTH_ROWS = 5_000
GROUP_ROWS = 61_440
"""So many rows are a group; a multiple of the vectors DuckDB reads."""


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file to read from; raises StoreError where it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error


def read_table(path: Path) -> pa.Table:
    """All rows of a file; raises StoreError where it is damaged."""
    with opened(path) as file:
        return file.read()


def packed(table: pa.Table) -> memoryview:
    """What the file of a table is to hold."""
    made = pa.BufferOutputStream()
    pq.write_table(table, made, row_group_size=GROUP_ROWS, **_how(table.schema, table.num_rows))
    return memoryview(made.getvalue())


class Packer:
    """The same of tables that come one after the other, of which few rows are held at a time."""

    def __init__(self, schema: pa.Schema) -> None:
        self._made = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._made, schema, **_how(schema, GROUP_ROWS))
        self._held = schema.empty_table()

    def add(self, table: pa.Table) -> None:
        """Take in the next rows, in the order of the file."""
        self._held = pa.concat_tables([self._held, table])
        while self._held.num_rows >= GROUP_ROWS:
            self._writer.write_table(self._held.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
            self._held = self._held.slice(GROUP_ROWS)

    def packed(self) -> memoryview:
        """What the file is to hold; nothing can be added after that."""
        if self._held.num_rows:
            self._writer.write_table(self._held, row_group_size=GROUP_ROWS)
        self._writer.close()
        return memoryview(self._made.getvalue())


def _how(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """To begin zstd and a dictionary for each column of a small file takes longer than all else about it."""
    how: dict[str, Any] = {"compression": "zstd"}
    if rows < ZSTD_WORTH_ROWS:
        how = {"compression": "snappy", "use_dictionary": False}
    if "created_at" in schema.names:
        how["write_statistics"] = ["id", "created_at"]
    return how
