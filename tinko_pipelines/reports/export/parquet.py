"""Parquet with its documentation: comments of the columns in the schema, and all of it as JSON in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], name: str, comment: str) -> None:
    """Write a file of these rows (zstd); readers of Arrow find `comment` at each column, others `tinko.columns`."""
    comments = {field.name: (field.metadata or {}).get(b"comment", b"").decode() for field in schema}
    told = {
        "tinko.table": name,
        "comment": comment,
        "tinko.columns": json.dumps(comments, ensure_ascii=False),
    }
    documented = schema.with_metadata(told)
    with pq.ParquetWriter(path, documented, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=documented))
