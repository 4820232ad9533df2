"""Kept pages: files of days put together by month, and months removed. What a page says is not known here.

A month's files become few larger ones, each written whole before the files it is made of go. What is under way is
written down on this machine first, so that a death between leaves nothing twice: the next run ends what was begun.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import PurePosixPath

from tinko_pipelines.lake.raw import ENDING, packed, pages_in
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.lake.turns import ALL_PAGES, only_one
from tinko_pipelines.retention.freed import Freed, months_between

ROLLED_BYTES = 8 * 1024 * 1024
"""A file of a month is closed when it has so many; unpacked it is some ten times that, and is read whole."""
_NOTE = "rolling-pages"
_FOLDER = re.compile(r"raw/[^/]+/(\d{4}-\d\d)(-\d\d)?")


@dataclass(frozen=True, slots=True)
class _Part:
    """Files that become one."""

    into: str
    sources: tuple[str, ...]
    size_bytes: int


def roll_up(lake: Lake, months: int, now: datetime, *, apply: bool) -> Freed:
    """Put the pages of each month together that ended `months` whole months ago; each page stays as it is."""
    setting = f"TINKO_RETENTION_ROLL_UP_MONTHS={months}"
    if not months:
        return Freed("lake: pages by month", setting)
    with only_one(lake, ALL_PAGES):
        if apply:
            _end_what_was_begun(lake)
        parts = list(_parts(lake, months, now))
        before = sum(part.size_bytes for part in parts)
        freed = before
        if apply and parts:
            for part in parts:
                _put_together(lake, part)
            sizes = lake.place.sizes("raw")
            freed = before - sum(sizes.get(part.into, 0) for part in parts)
    files = sum(len(part.sources) - 1 for part in parts)
    note = "" if apply else "the bytes are those that are written anew; a fraction of them is freed"
    return Freed("lake: pages by month", setting, files=files, size_bytes=freed, note=note if parts else "")


def purge(lake: Lake, months: int, now: datetime, *, apply: bool) -> Freed:
    """Remove the pages of each month that ended `months` whole months ago; the tables keep what they say."""
    setting = f"TINKO_RETENTION_PAGES_MONTHS={months}"
    if not months:
        return Freed("lake: pages", setting)
    with only_one(lake, ALL_PAGES):
        sizes = lake.place.sizes("raw")
        old = [name for name in sizes if (month := _month(name)) and months_between(month, now) >= months]
        if apply:
            _delete(lake, old)
    return Freed("lake: pages", setting, files=len(old), size_bytes=sum(sizes[name] for name in old))


def _month(name: str, *, of_days: bool = False) -> str | None:
    """The month of a file of pages, or only where it is a day's."""
    found = _FOLDER.fullmatch(str(PurePosixPath(name).parent))
    if found is None or not name.endswith(ENDING) or (of_days and found[2] is None):
        return None
    return found[1]


def _parts(lake: Lake, months: int, now: datetime) -> Iterator[_Part]:
    sizes = lake.place.sizes("raw")
    by_month: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(sizes):
        month = _month(name, of_days=True)
        if month is not None and months_between(month, now) >= months:
            by_month[f"{PurePosixPath(name).parent.parent}/{month}"].append(name)
    for folder, names in sorted(by_month.items()):
        taken: list[str] = []
        for at, name in enumerate(names):
            taken.append(name)
            size_bytes = sum(sizes[one] for one in taken)
            if size_bytes < ROLLED_BYTES and at < len(names) - 1:
                continue
            # A file alone would gain nothing by another name.
            if len(taken) > 1:
                digest = sha256("\n".join(taken).encode()).hexdigest()[:16]
                yield _Part(f"{folder}/{digest}{ENDING}", tuple(taken), size_bytes)
            taken = []


def _put_together(lake: Lake, part: _Part) -> None:
    lake.write_note(_NOTE, {"into": part.into, "sources": part.sources}, durable=True)
    pages = (page for name in part.sources for page in pages_in(lake.place, name))
    lake.place.write([(part.into, packed(pages))], durable=True)
    _delete(lake, part.sources)
    lake.drop_note(_NOTE)


def _end_what_was_begun(lake: Lake) -> None:
    """Of a run that was killed: where the new file is there it is whole, and what it is made of goes."""
    told = lake.read_note(_NOTE)
    if told:
        if told["into"] in lake.place.names(str(PurePosixPath(told["into"]).parent)):
            _delete(lake, told["sources"])
        lake.drop_note(_NOTE)


def _delete(lake: Lake, names: Sequence[str]) -> None:
    for name in names:
        lake.place.delete(name)
    for folder in {PurePosixPath(name).parent for name in names}:
        with suppress(OSError):
            (lake.place.folder / folder).rmdir()
