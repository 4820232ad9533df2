"""A month's files of days put together into one. The rows stay as they are.

For a moment a month lies in both, so readers must not see it: those of ours wait for each other, and whatever else
reads the folder finds a file in it that is no Parquet, and fails instead of counting twice. What is under way is written
down on this machine first; a death leaves that note, and the next reader ends what was begun.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import unwritable
from tinko_pipelines.lake.merge import in_schema
from tinko_pipelines.lake.parquet import Packer, read_table
from tinko_pipelines.lake.schemas import OBJECTS

if TYPE_CHECKING:
    from tinko_pipelines.lake.store import Lake

NOTE = "compacting"
IN_THE_WAY = "a-month-is-being-put-together.parquet"
ROWS_MAX = 500_000
"""A late refund writes its file anew, and a month of more rows gains nothing by being one file."""
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_DAY = re.compile(r"tables/([^/]+)/[^/]+/(\d{4}-\d\d)-\d\d\.parquet")


@dataclass(frozen=True, slots=True)
class Month:
    """Files of days that are to be one: the folder of an object and account, the month, the files' names, rows and bytes."""

    folder: str
    month: str
    days: tuple[str, ...]
    rows: int
    size_bytes: int

    @property
    def file(self) -> str:
        """What the file of the month is called."""
        return f"{self.folder}/{self.month}.parquet"


@contextmanager
def reading(lake: Lake) -> Iterator[None]:
    """Until this is over no month changes its files; whoever has DuckDB or dbt read the folder holds it."""
    if (lake.root / "notes" / f"{NOTE}.json").exists():
        end_what_was_begun(lake)
    with _lock(lake, fcntl.LOCK_SH):
        yield


def months(lake: Lake) -> list[Month]:
    """Every month that lies in several files of days and is not too large to be one, by folder."""
    lake.place.refresh("tables")
    sizes = lake.place.sizes("tables")
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(sizes):
        told = _DAY.fullmatch(name)
        if told and told[1] in OBJECTS:
            found[str(PurePosixPath(name).parent), told[2]].append(name)
    made = []
    for (folder, month), days in sorted(found.items()):
        rows = sum(pq.read_metadata(lake.place.folder / day).num_rows for day in days)
        one = Month(folder, month, tuple(days), rows, sum(sizes[day] for day in days))
        if len(days) > 1 and rows <= ROWS_MAX and one.file not in sizes:
            made.append(one)
    return made


def put_together(lake: Lake, month: Month) -> None:
    """Make one file of them; raises StoreError where somebody reads the lake for long."""
    with _lock(lake, fcntl.LOCK_EX), lake.one_writer(month.folder):
        schema = OBJECTS[month.folder.split("/")[1]].schema
        made = Packer(schema)
        for day in month.days:
            made.add(in_schema(read_table(lake.place.folder / day), schema))
        note = {"folder": month.folder, "file": month.file, "days": month.days}
        lake.write_note(NOTE, note, durable=True)
        lake.place.write([(f"{month.folder}/{IN_THE_WAY}", _WHY)], durable=True)
        lake.place.write([(month.file, made.packed())], durable=True)
        _end(lake)


def end_what_was_begun(lake: Lake) -> None:
    """Of a run that was killed: where the file of the month is there it is whole, and those of its days go."""
    with _lock(lake, fcntl.LOCK_EX):
        told = lake.read_note(NOTE)
        if told:
            with lake.one_writer(told["folder"]):
                _end(lake)


def _end(lake: Lake) -> None:
    told = lake.read_note(NOTE)
    if told["file"] in lake.place.names(told["folder"]):
        for day in told["days"]:
            lake.place.delete(day)
    lake.place.delete(f"{told['folder']}/{IN_THE_WAY}")
    lake.drop_note(NOTE)


_WHY = b"This file is no Parquet on purpose: the month beside it is being put together. Read again in a moment; where it stays, say `tinko retention --yes`."


@contextmanager
def _lock(lake: Lake, how: int) -> Iterator[None]:
    path = lake.root / ".compacting"
    try:
        file = path.open("ab")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StoreError(
                        f"the lake at {lake.place.where} was read, or put together, for {PATIENCE_SECONDS:.0f} s on end:"
                        " run the same command again"
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield
