"""Says of each row of a table that is written anew since when it is as it is. Arrow in, Arrow out.

Who reads the table again and again then asks for what is later than what he has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinko_pipelines.lake.reader import session

CHANGED_AT = "changed_at"
MOMENT = pa.timestamp("us", tz="UTC")
VANISHED_AT = b"tinko.vanished_at"
"""In the table's metadata: when a row was last left out that had been there. Nobody can ask for such a row."""


def stamped(fresh: pa.Table, before: Path, key: Sequence[str], now: datetime) -> pa.Table:
    """`fresh` with `changed_at`: of a row that stands in `before` just so, what it says there, else a later one than any.

    `key` names the columns by which a row is known again. Rows keep their order.
    """
    known = _known(before, fresh, key)
    if known is None:
        return _told(fresh, pa.array([now] * fresh.num_rows, MOMENT), now)
    stamp = _later(known, now)
    changed_at, vanished = _compared(fresh, known, key, stamp)
    past = (known.schema.metadata or {}).get(VANISHED_AT)
    return _told(
        fresh, changed_at, stamp if vanished else datetime.fromisoformat(past.decode()) if past else None
    )


def _known(before: Path, fresh: pa.Table, key: Sequence[str]) -> pa.Table | None:
    if not before.exists() or not key:
        return None
    known = pq.read_table(before, partitioning=None)
    named = [name for name in known.column_names if name != CHANGED_AT]
    alike = CHANGED_AT in known.column_names and named == fresh.column_names
    return (
        known
        if alike and all(known.schema.field(one.name).type == one.type for one in fresh.schema)
        else None
    )


def _later(known: pa.Table, now: datetime) -> datetime:
    newest = pc.max(known[CHANGED_AT]).as_py()
    return now if newest is None or newest < now else newest + timedelta(microseconds=1)


def _compared(
    fresh: pa.Table, known: pa.Table, key: Sequence[str], stamp: datetime
) -> tuple[pa.ChunkedArray, int]:
    if fresh.equals(known.drop_columns([CHANGED_AT])):
        return known[CHANGED_AT], 0
    by = " AND ".join(f'f."{name}" = k."{name}"' for name in key)
    rest = [name for name in fresh.column_names if name not in key]
    same = " AND ".join(f'f."{name}" IS NOT DISTINCT FROM k."{name}"' for name in rest) or "true"
    with session() as connection:
        connection.register("fresh", fresh.append_column("place_", pa.array(range(fresh.num_rows))))
        connection.register("known", known)
        found = connection.sql(
            f'SELECT CASE WHEN {same} THEN k.{CHANGED_AT} END AS at, k."{key[0]}" IS NOT NULL AS is_known'
            f" FROM fresh f LEFT JOIN known k ON {by} ORDER BY f.place_"
        ).to_arrow_table()
    if found.num_rows != fresh.num_rows:
        # A key that names two rows names none: everything counts as changed.
        return pa.chunked_array([pa.repeat(pa.scalar(stamp, MOMENT), fresh.num_rows)]), 1
    again = int(pc.sum(found["is_known"]).as_py() or 0)
    at = found["at"].cast(MOMENT).fill_null(pa.scalar(stamp, MOMENT))
    return at, known.num_rows - again


def _told(fresh: pa.Table, changed_at: pa.Array | pa.ChunkedArray, vanished_at: datetime | None) -> pa.Table:
    table = fresh.append_column(pa.field(CHANGED_AT, MOMENT), changed_at)
    told = {VANISHED_AT: vanished_at.isoformat().encode()} if vanished_at else {}
    return table.replace_schema_metadata(told or None)


def last_change(path: Path) -> tuple[datetime | None, datetime | None]:
    """Of a stamped file, when a row last changed and when one last vanished; a file without stamps has neither."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        past = (schema.metadata or {}).get(VANISHED_AT)
        vanished = datetime.fromisoformat(past.decode()) if past else None
        if CHANGED_AT not in schema.names:
            return None, vanished
        found = [
            file.metadata.row_group(n).column(schema.names.index(CHANGED_AT)).statistics
            for n in range(file.num_row_groups)
        ]
        return max((one.max for one in found if one is not None and one.has_min_max), default=None), vanished
