"""As many pages as are merged at once: their objects parsed and sorted by table, then brought into the lake."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import orjson
import pyarrow as pa

from tinko_pipelines.gateway.page import plain
from tinko_pipelines.lake.columns import as_columns
from tinko_pipelines.lake.merge import Gone
from tinko_pipelines.lake.parse import Malformed, Origin, parse
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

PARSED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What reading one object came to; `notices` are things a person should know."""

    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    deleted: int = 0
    pages: int = 0
    notices: tuple[str, ...] = ()

    @property
    def written(self) -> int:
        """Rows that are in the lake now and were not before, or not so."""
        return self.new + self.changed + self.deleted

    def plus(self, other: IngestResult) -> IngestResult:
        """Both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        fresh = (one for one in other.notices if one not in self.notices)
        return IngestResult(**sums, notices=(*self.notices, *fresh))

    def counts(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


_COUNTS = ("read", "new", "changed", "unchanged", "quarantined", "deleted", "pages")
Results = dict[str, IngestResult]


def together(*parts: Results) -> Results:
    """The results of several readings, in reading order."""
    names = {name for part in parts for name in part}
    return {
        name: reduce(IngestResult.plus, (part[name] for part in parts if name in part))
        for name in OBJECTS
        if name in names
    }


class Portion:
    """Filled page by page, then applied once."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts: defaultdict[str, IngestResult] = defaultdict(IngestResult)
        self._waiting: defaultdict[str, list[tuple[Sequence[Any], Origin, bytes]]] = defaultdict(list)
        self._tables: defaultdict[tuple[str, str], list[pa.RecordBatch]] = defaultdict(list)
        self._gone: defaultdict[tuple[str, str], list[Gone]] = defaultdict(list)
        self._bad: defaultdict[tuple[str, str], list[tuple[Malformed, datetime]]] = defaultdict(list)

    def add(
        self,
        name: str,
        data: Sequence[Any],
        body: bytes,
        origin: Origin,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        """The objects of one page. `known`: what a deleted object no longer says of itself."""
        self.rows += len(data)
        self._note(name, IngestResult(read=len(data), pages=1))
        if (data and isinstance(data[0], dict)) or not data:
            self._one_by_one(name, data, origin, known)
            return
        waiting = self._waiting[name]
        waiting.append((data, origin, body))
        if sum(len(rows) for rows, _, _ in waiting) >= PARSED_AT_ONCE:
            self._parse_waiting(name)

    def _note(self, name: str, result: IngestResult) -> None:
        self._counts[name] = self._counts[name].plus(result)

    def _parse_waiting(self, name: str) -> None:
        by_account: defaultdict[str, list[tuple[Sequence[Any], Origin, bytes]]] = defaultdict(list)
        for page in self._waiting.pop(name, []):
            by_account[page[1].account_id].append(page)
        for account_id, pages in by_account.items():
            batch = as_columns(name, [(data, origin) for data, origin, _ in pages])
            if batch is not None:
                self._tables[name, account_id].append(batch)
                continue
            for _, origin, body in pages:
                self._one_by_one(name, plain(body).data, origin, None)

    def _one_by_one(
        self, name: str, items: Sequence[Any], origin: Origin, known: Mapping[str, Any] | None
    ) -> None:
        spec, key = OBJECTS[name], (name, origin.account_id)
        rows = []
        for item in items:
            if isinstance(item, dict) and item.get("deleted") is True:
                gone = _gone({**(known or {}), **item}, origin)
                if gone is not None:
                    self._gone[key].append(gone)
                    continue
            parsed = parse(spec, item, origin)
            if isinstance(parsed, Malformed):
                self._bad[key].append((parsed, origin.fetched_at))
                continue
            if parsed["extra"] is not None:
                fields = ", ".join(orjson.loads(parsed["extra"]))
                self._note(
                    name,
                    IngestResult(
                        notices=(f"{name} has fields nobody knows here, kept in `extra`: {fields}",)
                    ),
                )
            rows.append(parsed)
        if rows:
            self._tables[key].append(pa.RecordBatch.from_pylist(rows, schema=spec.schema))

    def apply(self, lake: Lake) -> Results:
        """Bring it all into the lake; what came of it, by object."""
        for name in list(self._waiting):
            self._parse_waiting(name)
        for (name, account_id), batches in self._tables.items():
            fresh = pa.Table.from_batches(batches)
            upserted = lake.upsert(name, account_id, fresh)
            self._note(
                name, IngestResult(new=upserted.new, changed=upserted.changed, unchanged=upserted.unchanged)
            )
            lake.release(name, account_id, fresh["id"])
        for (name, account_id), gone in self._gone.items():
            self._note(name, IngestResult(deleted=lake.bury(name, account_id, gone)))
        for (name, account_id), bad in self._bad.items():
            lake.quarantine(name, account_id, [one for one, _ in bad], max(at for _, at in bad))
            self._note(name, IngestResult(quarantined=len(bad)))
        return dict(self._counts)


def _gone(item: Mapping[str, Any], origin: Origin) -> Gone | None:
    """A deleted object, as of when that was told; None where nobody knows when it was made."""
    name, created = item.get("id"), item.get("created")
    if not isinstance(name, str) or not name or isinstance(created, bool) or not isinstance(created, int):
        return None
    livemode = bool(item.get("livemode", origin.livemode))
    return Gone(name, livemode, datetime.fromtimestamp(created, UTC), origin.fetched_at)
