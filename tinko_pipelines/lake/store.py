"""The lake's files: typed Parquet by object, account and day, raw pages, derived tables, quarantine.

A reader sees a file as it was or as it is to be. Writers on one machine wait for each other; only one machine may
write at a time. What is in flight (pages no table has yet, notes of back-fills) stays on this machine. What the rows
mean is not known here.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.compact import reading
from tinko_pipelines.lake.days import merged, rows_of
from tinko_pipelines.lake.erased import NOBODY, Erased
from tinko_pipelines.lake.files import make_private, unwritable
from tinko_pipelines.lake.merge import Gone, Upserted, buried, by_day
from tinko_pipelines.lake.parquet import packed, read_table
from tinko_pipelines.lake.parse import Malformed
from tinko_pipelines.lake.place import File, Folder, Place
from tinko_pipelines.lake.schemas import IMMUTABLE, OBJECTS, QUARANTINE
from tinko_pipelines.lake.stamped import CHANGED_AT, stamped
from tinko_pipelines.lake.views import opened

if TYPE_CHECKING:
    import duckdb

QUARANTINE_ROWS_MAX = 100_000
QUARANTINED = "tables/quarantine/quarantine.parquet"
IN_FLIGHT = ("backfill", "rolling", "compacting")
"""Notes whose names begin so tell of what this machine has under way."""


class Lake:
    """`root` is this machine's part of it, and all of it when no `place` is given.

    `account_id` and the day of `created_at` (UTC) say where a row lies. `erased` tells by account who may not come in
    again; whoever brings pages in asks it once it has begun.
    """

    def __init__(
        self,
        root: Path,
        place: Place | None = None,
        erased: Callable[[str], Erased] = lambda _account_id: NOBODY,
    ) -> None:
        """Make an empty file per object, so that a reader always finds a schema."""
        self.root, self.here, self.erased = root, Folder(root), erased
        self.place: Place = place or self.here
        make_private(root / "incoming")
        self.place.refresh("tables")
        for private in ("raw", "tables/quarantine"):
            make_private(self.place.folder / private)
        empty = {f"tables/{name}/empty.parquet": spec.schema for name, spec in OBJECTS.items()}
        missing = [
            (name, packed(schema.empty_table()))
            for name, schema in {**empty, QUARANTINED: QUARANTINE}.items()
            if not self._path(name).exists()
        ]
        if missing:
            self.place.write(missing)

    def _path(self, name: str) -> Path:
        return self.place.folder / name

    def _file(self, folder: str, day: str) -> str:
        """Where the rows of a day are: with those of their month, where that was put together, else in a file of their own."""
        month = f"{folder}/{day[:7]}.parquet"
        return month if self._path(month).exists() else f"{folder}/{day}.parquet"

    @contextmanager
    def one_writer(self, below: str) -> Iterator[None]:
        """Hold the files below a name: they are read, changed and replaced, and another writer's rows would be undone."""
        path = self.root / ".lock"
        try:
            lock = path.open("ab")
        except OSError as error:
            raise unwritable(path, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.place.refresh(below)
            yield

    def upsert(self, name: str, account_id: str, fresh: pa.Table) -> Upserted:
        """Bring in rows of one account by id. Of two versions of an object the newer wins, of equal ones the later."""
        if not fresh.num_rows:
            return Upserted()
        folder = f"tables/{name}/{account_id}"
        total = Upserted()

        def merged_days() -> Iterator[File]:
            nonlocal total
            for file, days in groupby(by_day(fresh), lambda one: self._file(folder, one[0])):
                rows = pa.concat_tables([of_day for _, of_day in days])
                content, counts = merged(self._path(file), rows, immutable=name in IMMUTABLE)
                if content is not None:
                    yield file, content
                total = total.plus(counts)

        with self.one_writer(folder):
            self.place.write(merged_days())
        return total

    def bury(self, name: str, account_id: str, gone: Iterable[Gone]) -> int:
        """Mark objects that Stripe has no more as deleted; what was last known of them stays. How many were not yet."""
        folder, schema = f"tables/{name}/{account_id}", OBJECTS[name].schema
        news = 0

        def changed_days() -> Iterator[File]:
            nonlocal news
            in_order = sorted(gone, key=lambda one: one.day)
            for file, some in groupby(in_order, lambda one: self._file(folder, one.day)):
                few = list(some)
                known = rows_of(self._path(file), schema, [one.id for one in few])
                marked, count = buried(known, account_id, few)
                content = merged(self._path(file), marked)[0] if count else None
                if content is not None:
                    yield file, content
                news += count

        with self.one_writer(folder):
            self.place.write(changed_days())
        return news

    def rewrite(
        self, name: str, account_id: str, days: Iterable[str], change: Callable[[pa.Table], pa.Table]
    ) -> None:
        """Put what `change` makes of the rows of those days' files in their place, for good when this returns."""
        folder = f"tables/{name}/{account_id}"
        with self.one_writer(folder):
            for file in dict.fromkeys(self._file(folder, day) for day in days):
                self.place.write([(file, packed(change(read_table(self._path(file)))))], durable=True)

    def rewrite_quarantine(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """The same for what is set aside."""
        with self.one_writer("tables/quarantine"):
            changed = change(read_table(self._path(QUARANTINED)))
            self.place.write([(QUARANTINED, packed(changed))], durable=True)

    def quarantine(self, name: str, account_id: str, bad: Sequence[Malformed], at: datetime) -> int:
        """Set malformed objects aside with their reasons; those known for the same reason stay as they are."""
        if not bad:
            return 0
        with self.one_writer("tables/quarantine"):
            return self._set_aside(name, account_id, bad, at)

    def _set_aside(self, name: str, account_id: str, bad: Sequence[Malformed], at: datetime) -> int:
        kept = read_table(self._path(QUARANTINED)).to_pylist()
        known = {(row["object_name"], row["account_id"], row["body"]) for row in kept}
        fresh = [
            {
                "object_name": name,
                "account_id": account_id,
                "id": one.id,
                "reason": one.reason,
                "fetched_at": at,
                "body": one.body,
            }
            for one in bad
            if (name, account_id, one.body) not in known
        ]
        if fresh:
            rows = (kept + fresh)[-QUARANTINE_ROWS_MAX:]
            self.place.write([(QUARANTINED, packed(pa.Table.from_pylist(rows, schema=QUARANTINE)))])
        return len(fresh)

    def release(self, name: str, account_id: str, ids: pa.ChunkedArray) -> None:
        """Let objects go from quarantine that have since been read in good order."""
        path = self._path(QUARANTINED)
        self.place.refresh("tables/quarantine")
        if not pq.read_metadata(path).num_rows:
            return
        with self.one_writer("tables/quarantine"):
            before = read_table(path)
            ours = pc.and_(pc.equal(before["object_name"], name), pc.equal(before["account_id"], account_id))
            kept = before.filter(
                pc.invert(pc.and_(ours, pc.fill_null(pc.is_in(before["id"], ids.combine_chunks()), False)))
            )
            if kept.num_rows < before.num_rows:
                self.place.write([(QUARANTINED, packed(kept))])

    def quarantined(self) -> int:
        """How many objects are set aside."""
        self.place.refresh("tables/quarantine")
        return int(read_table(self._path(QUARANTINED)).num_rows)

    def write_derived(
        self, name: str, table: pa.Table, key: Sequence[str] = (), now: datetime | None = None
    ) -> None:
        """Replace a derived table as a whole; with a `key`, `changed_at` says of each row since when it is as it is."""
        if key and now:
            self.place.refresh("derived")
            fresh = table.drop_columns([CHANGED_AT]) if CHANGED_AT in table.column_names else table
            table = stamped(fresh, self._path(f"derived/{name}.parquet"), key, now)
        self.place.write([(f"derived/{name}.parquet", packed(table))])

    def read_derived(self, name: str, made_by: str) -> pa.Table:
        """A derived table, or StoreError naming the command that makes it."""
        self.place.refresh("derived")
        path = self._path(f"derived/{name}.parquet")
        if not path.exists():
            raise StoreError(f"{path} does not exist yet; run `{made_by}` first")
        return read_table(path)

    def has_derived(self, name: str) -> bool:
        """Whether a derived table was made."""
        self.place.refresh("derived")
        return self._path(f"derived/{name}.parquet").exists()

    def refuse_if_empty(self, account_id: str | None = None) -> None:
        """Raise StoreError while nothing was ever ingested (of an account), so that nothing is taken for no failure."""
        self.place.refresh("tables", "notes")
        days = next(self._path("tables").glob(f"*/{account_id or '*'}/????-??*.parquet"), None)
        notes = [*self.here.names("notes"), *self.place.names("notes")]
        if days is None and not any(f"-{account_id or ''}" in name for name in notes):
            raise StoreError(
                f"nothing was ingested into {self.place.where} yet, so nothing can be said of payments:"
                " run `tinko ingest --changes` first"
            )

    def table(self, name: str) -> pa.Table:
        """All rows of an object."""
        with self.connect(name) as connection:
            found: pa.Table = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
            return found.cast(OBJECTS[name].schema)

    @contextmanager
    def connect(self, *names: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session of DuckDB with the named objects as views, all of them when none is named."""
        with reading(self):
            self.place.refresh(*(f"tables/{name}" for name in names) if names else ("tables",))
            with opened(self.place, names or (*OBJECTS, "quarantine")) as connection:
                yield connection

    def read_note(self, name: str) -> dict[str, Any]:
        """A small remembered record, empty if there is none."""
        found = self._place_of(name).read(f"notes/{name}.json")
        return dict(orjson.loads(found)) if found else {}

    def write_note(self, name: str, values: Mapping[str, Any], *, durable: bool = False) -> None:
        """Remember a small record."""
        file = (f"notes/{name}.json", orjson.dumps(values))
        self._place_of(name).write([file], durable=durable)

    def drop_note(self, name: str) -> None:
        """Forget a record."""
        self._place_of(name).delete(f"notes/{name}.json")

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Records whose names begin so, by name."""
        names = [PurePosixPath(file).stem for file in self._place_of(prefix).names("notes")]
        return {name: self.read_note(name) for name in names if name.startswith(prefix)}

    def _place_of(self, note: str) -> Place:
        return self.here if note.startswith(IN_FLIGHT) else self.place
