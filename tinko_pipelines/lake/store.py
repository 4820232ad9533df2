"""The lake's files: typed Parquet by object, account and day, raw pages, derived tables, quarantine.

Every file is written beside its place and moved there, so a reader sees the old one or the new one. Writers on
one machine wait for each other. What the rows mean is not known here.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.erased import NOBODY, Erased
from tinko_pipelines.lake.files import make_private, moved_into_place, unwritable
from tinko_pipelines.lake.merge import Upserted, by_day, merge
from tinko_pipelines.lake.parse import Malformed
from tinko_pipelines.lake.schemas import IMMUTABLE, OBJECTS, QUARANTINE

if TYPE_CHECKING:
    import duckdb

QUARANTINE_ROWS_MAX = 100_000
ZSTD_WORTH_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that Stripe has no more, and as of when that is known."""

    id: str
    livemode: bool
    created_at: datetime
    fetched_at: datetime


class Lake:
    """A folder. `account_id` and the day of `created_at` (UTC) say where a row lies.

    `erased` tells by account who may not come in again; whoever brings pages in asks it once it has begun.
    """

    def __init__(self, root: Path, erased: Callable[[str], Erased] = lambda _account_id: NOBODY) -> None:
        """Make the folder with an empty file per object, so that a reader always finds a schema."""
        self.root, self.erased = root, erased
        for private in (root / "raw", root / "incoming", self._folder("quarantine")):
            make_private(private)
        for name, spec in OBJECTS.items():
            empty = self._folder(name) / "empty.parquet"
            if not empty.exists():
                _write(spec.schema.empty_table(), empty)
        quarantine = self._folder("quarantine") / "quarantine.parquet"
        if not quarantine.exists():
            _write(QUARANTINE.empty_table(), quarantine)

    def _folder(self, name: str) -> Path:
        return self.root / "tables" / name

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Files are read, changed and replaced; without this a writer would undo another one's rows."""
        path = self.root / "tables" / ".lock"
        try:
            lock = path.open("ab")
        except OSError as error:
            raise unwritable(path, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def upsert(self, name: str, account_id: str, fresh: pa.Table) -> Upserted:
        """Bring in rows of one account by id. Of two versions of an object the newer wins, of equal ones the later."""
        if not fresh.num_rows:
            return Upserted()
        folder = self._folder(name) / account_id
        total = Upserted()
        with self._one_writer():
            for day, rows in by_day(fresh):
                path = folder / f"{day}.parquet"
                merged, counts = merge(
                    _read(path) if path.exists() else None, rows, immutable=name in IMMUTABLE
                )
                if merged is not None:
                    _write(merged, path)
                total = total.plus(counts)
        return total

    def bury(self, name: str, account_id: str, gone: Iterable[Gone]) -> int:
        """Mark objects that Stripe has no more as deleted; what was last known of them stays. How many were not yet."""
        schema = OBJECTS[name].schema
        buried = 0
        with self._one_writer():
            for one in gone:
                path = self._folder(name) / account_id / f"{one.created_at:%Y-%m-%d}.parquet"
                rows = _read(path).to_pylist() if path.exists() else []
                row = next((row for row in rows if row["id"] == one.id), None)
                if row is None:
                    row = {"id": one.id, "account_id": account_id, "livemode": one.livemode}
                    row["created_at"] = one.created_at
                    rows.append(row)
                elif row["deleted"] or row["version_at"] > one.fetched_at:
                    continue
                row |= {"deleted": True, "version_at": one.fetched_at, "fetched_at": one.fetched_at}
                _write(pa.Table.from_pylist(rows, schema=schema), path)
                buried += 1
        return buried

    def rewrite(
        self, name: str, account_id: str, days: Iterable[str], change: Callable[[pa.Table], pa.Table]
    ) -> None:
        """Put what `change` makes of the rows of those days in their place, for good when this returns."""
        with self._one_writer():
            for day in days:
                path = self._folder(name) / account_id / f"{day}.parquet"
                _write(change(_read(path)), path, durable=True)

    def rewrite_quarantine(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """The same for what is set aside."""
        path = self._folder("quarantine") / "quarantine.parquet"
        with self._one_writer():
            _write(change(_read(path)), path, durable=True)

    def quarantine(self, name: str, account_id: str, bad: Sequence[Malformed], at: datetime) -> int:
        """Set malformed objects aside with their reasons; those known for the same reason stay as they are."""
        if not bad:
            return 0
        with self._one_writer():
            return self._set_aside(name, account_id, bad, at)

    def _set_aside(self, name: str, account_id: str, bad: Sequence[Malformed], at: datetime) -> int:
        path = self._folder("quarantine") / "quarantine.parquet"
        kept = _read(path).to_pylist()
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
            _write(pa.Table.from_pylist(rows, schema=QUARANTINE), path)
        return len(fresh)

    def release(self, name: str, account_id: str, ids: pa.ChunkedArray) -> None:
        """Let objects go from quarantine that have since been read in good order."""
        path = self._folder("quarantine") / "quarantine.parquet"
        if not pq.read_metadata(path).num_rows:
            return
        with self._one_writer():
            before = _read(path)
            ours = pc.and_(pc.equal(before["object_name"], name), pc.equal(before["account_id"], account_id))
            kept = before.filter(
                pc.invert(pc.and_(ours, pc.fill_null(pc.is_in(before["id"], ids.combine_chunks()), False)))
            )
            if kept.num_rows < before.num_rows:
                _write(kept, path)

    def quarantined(self) -> int:
        """How many objects are set aside."""
        return int(_read(self._folder("quarantine") / "quarantine.parquet").num_rows)

    def write_derived(self, name: str, table: pa.Table) -> Path:
        """Replace a derived table as a whole."""
        path = self.root / "derived" / f"{name}.parquet"
        _write(table, path)
        return path

    def read_derived(self, name: str, made_by: str) -> pa.Table:
        """A derived table, or StoreError naming the command that makes it."""
        path = self.root / "derived" / f"{name}.parquet"
        if not path.exists():
            raise StoreError(f"{path} does not exist yet; run `{made_by}` first")
        return _read(path)

    def refuse_if_empty(self) -> None:
        """Raise StoreError while nothing was ever ingested, so that nothing is taken for no failure."""
        tables = (self.root / "tables").rglob("????-??-??.parquet")
        notes = (self.root / "notes").glob("*.json")
        if next(chain(tables, notes), None) is None:
            raise StoreError(
                f"nothing was ingested into {self.root} yet, so nothing can be said of payments:"
                " run `tinko ingest --changes` first"
            )

    def table(self, name: str) -> pa.Table:
        """All rows of an object."""
        with self.connect(name) as connection:
            found: pa.Table = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
            return found.cast(OBJECTS[name].schema)

    @contextmanager
    def connect(self, *names: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection in memory with the named objects as views, all of them when none is named."""
        import duckdb

        connection = duckdb.connect(":memory:")
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET python_enable_replacements = false")
            for name in names or (*OBJECTS, "quarantine"):
                pattern = str(self._folder(name) / "**" / "*.parquet").replace("'", "''")
                connection.execute(
                    f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}',"
                    " union_by_name = true, hive_partitioning = false)"
                )
            yield connection
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise StoreError(f"the lake at {self.root} cannot be read: {first}; ingest again") from error
        finally:
            connection.close()

    def read_note(self, name: str) -> dict[str, Any]:
        """A small remembered record, empty if there is none."""
        path = self.root / "notes" / f"{name}.json"
        return dict(orjson.loads(path.read_bytes())) if path.exists() else {}

    def write_note(self, name: str, values: Mapping[str, Any], *, durable: bool = False) -> None:
        """Remember a small record."""
        with moved_into_place(self.root / "notes" / f"{name}.json", durable=durable) as partial:
            Path(partial).write_bytes(orjson.dumps(values))

    def drop_note(self, name: str) -> None:
        """Forget a record."""
        (self.root / "notes" / f"{name}.json").unlink(missing_ok=True)

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Records whose names begin so, by name."""
        return {
            path.stem: self.read_note(path.stem)
            for path in sorted((self.root / "notes").glob(f"{prefix}*.json"))
        }


def _read(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error


def _write(table: pa.Table, path: Path, *, durable: bool = False) -> None:
    made = pa.BufferOutputStream()
    pq.write_table(table, made, **_how(table))
    with moved_into_place(path, durable=durable) as partial:
        Path(partial).write_bytes(made.getvalue())


def _how(table: pa.Table) -> dict[str, Any]:
    """To begin zstd and a dictionary for each column of a small file takes longer than all else about it."""
    how: dict[str, Any] = {"compression": "zstd"}
    if table.num_rows < ZSTD_WORTH_ROWS:
        how = {"compression": "snappy", "use_dictionary": False}
    if "created_at" in table.column_names:
        how["write_statistics"] = ["id", "created_at"]
    return how
