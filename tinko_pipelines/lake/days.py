"""A day's file: what it is to hold once fresh rows are in it. A large day is merged a group of its rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinko_pipelines.lake import parquet
from tinko_pipelines.lake.merge import Upserted, in_schema, merge, microseconds, newest


def merged(path: Path, fresh: pa.Table, *, immutable: bool = False) -> tuple[memoryview | None, Upserted]:
    """What the file is to hold, or None where it holds that already, and how the rows compared."""
    there = path.exists()
    if there and pq.read_metadata(path).num_rows > parquet.GROUP_ROWS:
        return _merged_by_groups(path, fresh, immutable)
    table, counts = merge(parquet.read_table(path) if there else None, fresh, immutable=immutable)
    return (None if table is None else parquet.packed(table)), counts


def rows_of(path: Path, schema: pa.Schema, ids: list[str]) -> pa.Table:
    """The rows of these ids, as far as the file has them."""
    found = [schema.empty_table()]
    if path.exists():
        with parquet.opened(path) as file:
            for number in range(file.num_row_groups):
                group = in_schema(file.read_row_group(number), schema)
                found.append(group.filter(pc.is_in(group["id"], pa.array(ids))))
    return pa.concat_tables(found)


def _merged_by_groups(path: Path, fresh: pa.Table, immutable: bool) -> tuple[memoryview | None, Upserted]:
    changed, counts = False, Upserted()
    with parquet.opened(path) as file:
        made = parquet.Packer(fresh.schema)
        for number, rows in enumerate(_shares(file, newest(fresh))):
            group = in_schema(file.read_row_group(number), fresh.schema)
            table, told = merge(group, rows, immutable=immutable) if rows.num_rows else (None, Upserted())
            changed = changed or table is not None
            made.add(group if table is None else table)
            counts = counts.plus(told)
    return (made.packed() if changed else None), counts


def _shares(file: pq.ParquetFile, fresh: pa.Table) -> Iterator[pa.Table]:
    """Of the fresh rows those that each group is to take: of a known id where it is, of a new one by its creation."""
    groups = file.num_row_groups
    place, latest = np.full(fresh.num_rows, -1), np.zeros(groups, np.int64)
    for number in range(groups):
        known = file.read_row_group(number, columns=["id", "created_at"])
        place[pc.is_in(fresh["id"], known["id"].combine_chunks()).to_numpy()] = number
        latest[number] = microseconds(known).max(initial=0)
    after = np.searchsorted(np.maximum.accumulate(latest), microseconds(fresh))
    place = np.where(place < 0, np.minimum(after, groups - 1), place)
    for number in range(groups):
        yield fresh.filter(pa.array(place == number))
