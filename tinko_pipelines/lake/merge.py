"""Which version of each object a day's file is to hold. Arrow in, Arrow out; reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_DAY_MICROSECONDS = 86_400_000_000
TAKEN_AT_ONCE = 50_000
_ABOUT_READING = frozenset({"fetched_at", "version_at"})
"""That these differ makes no object a changed one."""


@dataclass(frozen=True, slots=True)
class Upserted:
    """How the rows compared with those already there."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    def plus(self, other: Upserted) -> Upserted:
        """Both together."""
        return Upserted(self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged)


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that Stripe has no more, and as of when that is known."""

    id: str
    livemode: bool
    created_at: datetime
    fetched_at: datetime

    @property
    def day(self) -> str:
        """Of `created_at`, as `YYYY-MM-DD`."""
        return f"{self.created_at:%Y-%m-%d}"


def by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each day (UTC) of `created_at`, as `YYYY-MM-DD`, later ones of the same id still after earlier ones."""
    times = microseconds(rows)
    order = np.argsort(times, kind="stable")
    days = times[order] // _DAY_MICROSECONDS
    starts = [*np.flatnonzero(np.diff(days, prepend=days[0] - 1)), len(days)]
    taken, begun = rows.slice(0, 0), 0
    for start, end in pairwise(starts):
        if end > begun + taken.num_rows:
            # Some days at a time: one by one is slow, all at once a copy of everything.
            upto = next((one for one in starts if one >= start + TAKEN_AT_ONCE), len(days))
            taken, begun = rows.take(pa.array(order[start:upto])), start
        yield str(np.datetime64(int(days[start]), "D")), taken.slice(start - begun, end - start)


def merge(
    base: pa.Table | None, fresh: pa.Table, *, immutable: bool = False
) -> tuple[pa.Table | None, Upserted]:
    """What the file is to hold, in the order of creation, or None where it holds that already."""
    winners = newest(fresh)
    if base is None:
        return ordered(winners), Upserted(new=winners.num_rows)
    base = in_schema(base, fresh.schema)
    at = pc.index_in(winners["id"], base["id"])
    is_new = pc.is_null(at)
    known = winners.filter(pc.invert(is_new))
    before = base.take(pc.drop_null(at))
    newer = pc.greater_equal(known["version_at"], before["version_at"])
    if immutable:
        newer = pc.and_(newer, pa.scalar(False))
    differs = pc.and_(newer, _differs(before, known))
    taken = pc.and_(newer, pc.or_(differs, pc.greater(known["version_at"], before["version_at"])))
    new = int(pc.sum(is_new).as_py() or 0)
    changed = int(pc.sum(differs).as_py() or 0)
    counts = Upserted(new, changed, winners.num_rows - new - changed)
    replacing = known.filter(taken)
    if not new and not replacing.num_rows:
        return None, counts
    left = base
    if replacing.num_rows:
        left = base.filter(pc.invert(pc.is_in(base["id"], replacing["id"].combine_chunks())))
    parts = [left, winners.filter(is_new), replacing]
    del base, left, before, known, winners  # A day may be large, and a copy of it is made now.
    return ordered(pa.concat_tables(parts)), counts


def buried(known: pa.Table, account_id: str, gone: Iterable[Gone]) -> tuple[pa.Table, int]:
    """These objects marked as deleted, to be merged, and how many were not yet; `known` are their rows as they are."""
    rows = {row["id"]: row for row in known.to_pylist()}
    news = []
    for one in gone:
        row = rows.setdefault(
            one.id,
            {"id": one.id, "account_id": account_id, "livemode": one.livemode, "created_at": one.created_at},
        )
        if row.get("deleted") or (row.get("version_at") or one.fetched_at) > one.fetched_at:
            continue
        row |= {"deleted": True, "version_at": one.fetched_at, "fetched_at": one.fetched_at}
        news.append(row)
    return pa.Table.from_pylist(news, schema=known.schema), len(news)


def newest(rows: pa.Table) -> pa.Table:
    """One row for each id: the newest version, and of equal ones the last."""
    if pc.count_distinct(rows["id"]).as_py() == rows.num_rows:
        return rows
    numbered = pa.table(
        {"id": rows["id"], "version_at": rows["version_at"], "n": pa.array(range(rows.num_rows))}
    )
    order = numbered.sort_by([("id", "ascending"), ("version_at", "ascending"), ("n", "ascending")])
    ids = order["id"].to_numpy()
    last = np.append(ids[1:] != ids[:-1], True)
    return rows.take(order["n"].filter(pa.array(last)))


def _differs(before: pa.Table, after: pa.Table) -> pa.ChunkedArray:
    """For each row whether any column says something else."""
    found = pa.chunked_array([pa.repeat(False, before.num_rows)])
    for name in before.column_names:
        if name in _ABOUT_READING:
            continue
        one, other = before[name], after[name]
        missing = pc.xor(pc.is_null(one), pc.is_null(other))
        unequal = pc.fill_null(pc.not_equal(one, other), False)
        found = pc.or_(found, pc.or_(missing, unequal))
    return found


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """An older file in today's schema; what it did not have yet is null."""
    if table.schema.equals(schema):
        return table
    columns = [
        table[one.name].cast(one.type)
        if one.name in table.column_names
        else pa.nulls(table.num_rows, one.type)
        for one in schema
    ]
    return pa.table(columns, schema=schema)


def microseconds(table: pa.Table) -> Any:
    """When each row's object was created, since 1970."""
    return table["created_at"].to_numpy().astype("datetime64[us]").astype("int64")


def ordered(table: pa.Table) -> pa.Table:
    """The rows in the order of creation."""
    if np.all(np.diff(microseconds(table)) > 0):
        return table
    return table.sort_by([("created_at", "ascending"), ("id", "ascending")])
