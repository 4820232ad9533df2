"""The lake's files: typed Parquet by object, account and day, raw pages, derived tables, quarantine.

Every file is written beside its place and moved there, so a reader sees the old one or the new one. Writers on
one machine wait for each other. What the rows mean is not known here.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.parse import Malformed, Row
from tinko_pipelines.lake.schemas import OBJECTS, QUARANTINE

if TYPE_CHECKING:
    import duckdb

QUARANTINE_ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Upserted:
    """How the rows compared with those already there."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


class Lake:
    """A folder. `account_id` and the day of `created_at` (UTC) say where a row lies."""

    def __init__(self, root: Path) -> None:
        """Make the folder with an empty file per object, so that a reader always finds a schema."""
        self.root = root
        for private in (root / "raw", self._folder("quarantine")):
            _make_private(private)
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
            raise _unwritable(path, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def upsert(self, name: str, rows: Iterable[Row]) -> Upserted:
        """Bring rows in by id, the newest version winning; a day whose rows are all known is not rewritten."""
        spec = OBJECTS[name]
        by_file: dict[Path, dict[str, Row]] = defaultdict(dict)
        for row in rows:
            path = self._folder(name) / row["account_id"] / f"{row['created_at']:%Y-%m-%d}.parquet"
            before = by_file[path].get(row["id"])
            if before is None or before["fetched_at"] <= row["fetched_at"]:
                by_file[path][row["id"]] = row
        with self._one_writer():
            return self._merge(spec.schema, by_file)

    def _merge(self, schema: pa.Schema, by_file: dict[Path, dict[str, Row]]) -> Upserted:
        new = changed = unchanged = 0
        for path, wanted in by_file.items():
            kept = {row["id"]: row for row in _read(path).to_pylist()} if path.exists() else {}
            fresh = 0
            for identity, row in wanted.items():
                before = kept.get(identity)
                if before is not None and (
                    before["content_hash"] == row["content_hash"] or before["fetched_at"] > row["fetched_at"]
                ):
                    unchanged += 1
                    continue
                new, changed = new + (before is None), changed + (before is not None)
                fresh += 1
                kept[identity] = row
            if fresh:
                ordered = sorted(kept.values(), key=lambda row: (row["created_at"], row["id"]))
                _write(pa.Table.from_pylist(ordered, schema=schema), path)
        return Upserted(new, changed, unchanged)

    def keep_page(self, name: str, account_id: str, body: bytes, about: dict[str, str | None]) -> bool:
        """Keep a page as Stripe sent it, after one line that says when and how it came; False if it is known."""
        digest = sha256(body).hexdigest()[:24]
        path = self.root / "raw" / name / account_id / digest[:2] / f"{digest}.json.zst"
        if path.exists():
            return False
        with _moved_into_place(path) as partial, pa.CompressedOutputStream(partial, "zstd") as stream:
            stream.write(orjson.dumps(about) + b"\n" + body)
        return True

    def pages(self, name: str) -> Iterator[tuple[dict[str, str | None], bytes]]:
        """Every kept page of an object with the line about it, in no particular order."""
        for path in sorted((self.root / "raw" / name).rglob("*.json.zst")):
            with pa.CompressedInputStream(str(path), "zstd") as stream:
                about, _, body = stream.read().partition(b"\n")
            yield orjson.loads(about), body

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

    def release(self, name: str, account_id: str, ids: set[str]) -> None:
        """Let objects go from quarantine that have since been read in good order."""
        path = self._folder("quarantine") / "quarantine.parquet"
        if not ids or not _read(path).num_rows:
            return
        with self._one_writer():
            before = _read(path).to_pylist()
            kept = [
                row
                for row in before
                if not (row["object_name"] == name and row["account_id"] == account_id and row["id"] in ids)
            ]
            if len(kept) < len(before):
                _write(pa.Table.from_pylist(kept, schema=QUARANTINE), path)

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

    def read_note(self, name: str) -> dict[str, str]:
        """A small remembered record, empty if there is none."""
        path = self.root / "notes" / f"{name}.json"
        return dict(orjson.loads(path.read_bytes())) if path.exists() else {}

    def write_note(self, name: str, values: dict[str, str]) -> None:
        """Remember a small record."""
        with _moved_into_place(self.root / "notes" / f"{name}.json") as partial:
            Path(partial).write_bytes(orjson.dumps(values))


def _read(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error


def _write(table: pa.Table, path: Path) -> None:
    with _moved_into_place(path) as partial:
        pq.write_table(table, partial, compression="zstd")


@contextmanager
def _moved_into_place(path: Path) -> Iterator[str]:
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield str(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _make_private(folder: Path) -> None:
    """Pages as Stripe sent them, and what is malformed, hold names and addresses: for the owner alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    why = error.strerror or str(error)
    return StoreError(f"{path} cannot be written: {why}; make room or check its rights")
