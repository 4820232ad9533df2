"""The lake's tables: files of days put together by month. No row is ever removed."""

from __future__ import annotations

from datetime import datetime

from tinko_pipelines.lake.compact import end_what_was_begun, months, put_together
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.retention.freed import Freed, months_between


def roll_up(lake: Lake, after_months: int, now: datetime, *, apply: bool) -> Freed:
    """Make one file of the days of each month that ended so many whole months ago."""
    store, setting = "lake: tables by month", f"TINKO_RETENTION_ROLL_UP_MONTHS={after_months}"
    if not after_months:
        return Freed(store, setting)
    if apply:
        end_what_was_begun(lake)
    due = [one for one in months(lake) if months_between(one.month, now) >= after_months]
    size_bytes = sum(one.size_bytes for one in due)
    files = sum(len(one.days) - 1 for one in due)
    if not apply:
        note = "the bytes are those that are written anew; a part of them is freed" if due else ""
        return Freed(store, setting, files=files, size_bytes=size_bytes, note=note)
    for one in due:
        put_together(lake, one)
    sizes = lake.place.sizes("tables")
    freed = size_bytes - sum(sizes.get(one.file, 0) for one in due)
    return Freed(store, setting, files=files, size_bytes=freed)
