"""What changed since the last whole build: noted before dbt starts, and laid out so that its models read just that.

Nothing is told by clocks of the lake: a file that is not the very file of the last build is a changed one, and which of its
rows differ is found by comparing them. The note of a build is kept only when all of it is built and tested.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.lake.place import place_of
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.stamped import last_change
from tinko_pipelines.reports.sources import DERIVED_TABLES, LAKE_TABLES, STAMPED_TABLES
from tinko_pipelines.settings import Settings

WHOLE_AFTER = timedelta(days=7)
MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Seen:
    """The sources as they stood: each file of the lake by name, and each stamped table's last change and last loss."""

    files: dict[str, list[int]] = field(default_factory=dict)
    changed_at: dict[str, str | None] = field(default_factory=dict)
    vanished_at: dict[str, str | None] = field(default_factory=dict)
    row_count: dict[str, int] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Built:
    """A build: as of when, of which project, when all was last made anew, and what it had seen."""

    as_of: str
    fingerprint: str
    whole_at: str
    seen: Seen

    @classmethod
    def read(cls, path: Path) -> Built | None:
        """The last build's note; None where there is none that can be read."""
        try:
            told = json.loads(path.read_text())
            return cls(told["as_of"], told["fingerprint"], told["whole_at"], Seen(**told["seen"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def text(self) -> str:
        """The note."""
        return json.dumps(asdict(self))


def look(settings: Settings) -> Seen:
    """The sources as they stand now."""
    lake = place_of(settings).folder
    files = {}
    for name in LAKE_TABLES:
        for path in (lake / "tables" / name).rglob("*.parquet"):
            if not path.name.startswith("."):
                files[path.relative_to(lake / "tables").as_posix()] = _identity(path)
    changed, vanished, rows = {}, {}, {}
    for table, path in _stamped(settings):
        at, lost = last_change(path) if path.exists() else (None, None)
        changed[table] = at.isoformat() if at else None
        vanished[table] = lost.isoformat() if lost else None
        rows[table] = pq.read_metadata(path).num_rows if path.exists() else 0
    rules = settings.export_dir / "cap_rule.parquet"
    return Seen(files, changed, vanished, rows, _rows(rules))


def why_whole(last: Built | None, seen: Seen, fingerprint: str, as_of: datetime) -> str | None:
    """Why everything is to be made anew, or None where it is enough to mend."""
    if last is None:
        return "there is no whole build to mend"
    if last.fingerprint != fingerprint:
        return "the project, its settings or its versions changed"
    if as_of - datetime.fromisoformat(last.whole_at) >= WHOLE_AFTER:
        return f"the last build of everything is {WHOLE_AFTER.days} days old"
    if as_of < datetime.fromisoformat(last.as_of):
        return "the clock went back"
    if set(last.seen.files) - set(seen.files):
        return "a file of the lake is gone"
    if last.seen.vanished_at != seen.vanished_at:
        return "a row of the ledger or of a derived table is gone"
    if last.seen.rules != seen.rules:
        return "the networks' caps changed"
    return None


def lay_out(settings: Settings, seen: Seen, last: Built | None) -> int:
    """Put what is to be read where dbt reads it; how many files of the lake that are, all of them with no `last`."""
    home, lake = told_dir(settings), place_of(settings).folder
    before = last.seen.files if last else {}
    changed = [name for name, what in seen.files.items() if before.get(name) != what]
    shutil.rmtree(home, ignore_errors=True)
    for name in LAKE_TABLES:
        (home / "tables" / name).mkdir(parents=True)
    for name in LAKE_TABLES:
        # A table of which nothing changed still has columns.
        pq.write_table(OBJECTS[name].schema.empty_table(), home / "tables" / name / "nothing.parquet")
    for name in changed:
        link = home / "tables" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(lake / "tables" / name)
    since = last.seen if last else Seen()
    moments = [None if at is None else datetime.fromisoformat(at) for at in since.changed_at.values()]
    told = {
        "table_name": pa.array(list(since.changed_at), pa.string()),
        "changed_at": pa.array(moments, MOMENT),
        "row_count": pa.array([since.row_count[name] for name in since.changed_at], pa.int64()),
    }
    pq.write_table(pa.table(told), home / "since.parquet")
    pq.write_table(pa.table({"file": pa.array(changed, pa.string())}), home / "changed_files.parquet")
    return len(changed)


def told_dir(settings: Settings) -> Path:
    """Where the sources of a build are laid out."""
    return settings.state / "dbt" / "told"


def _stamped(settings: Settings) -> list[tuple[str, Path]]:
    derived = place_of(settings).folder / "derived"
    return [
        *((name, derived / f"{name}.parquet") for name in DERIVED_TABLES),
        *((name, settings.export_dir / f"{name}.parquet") for name in STAMPED_TABLES),
    ]


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _rows(path: Path) -> list[str]:
    if not path.exists():
        return []
    table = pq.read_table(path, partitioning=None)
    return [
        repr(row) for row in table.select([c for c in table.column_names if c != "changed_at"]).to_pylist()
    ]


def built_now(as_of: datetime, fingerprint: str, seen: Seen, last: Built | None) -> Built:
    """The note of a build that is done; `last` where it mended that one."""
    moment = as_of.astimezone(UTC).isoformat()
    return Built(moment, fingerprint, last.whole_at if last else moment, seen)
