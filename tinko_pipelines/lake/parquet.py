"""Tables as Parquet: read from a file, and packed to be written."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError

ZSTD_WORTH_ROWS = 5_000


def read_table(path: Path) -> pa.Table:
    """All rows of a file; raises StoreError where it is damaged."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error


def packed(table: pa.Table) -> memoryview:
    """What the file of a table is to hold."""
    made = pa.BufferOutputStream()
    pq.write_table(table, made, **_how(table))
    return memoryview(made.getvalue())


def _how(table: pa.Table) -> dict[str, Any]:
    """To begin zstd and a dictionary for each column of a small file takes longer than all else about it."""
    how: dict[str, Any] = {"compression": "zstd"}
    if table.num_rows < ZSTD_WORTH_ROWS:
        how = {"compression": "snappy", "use_dictionary": False}
    if "created_at" in table.column_names:
        how["write_statistics"] = ["id", "created_at"]
    return how
