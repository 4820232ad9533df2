"""Taking turns at the lake, among the processes of this machine. A lock is let go by the death of who holds it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tinko_pipelines.lake.store import Lake

ALL_PAGES = "raw"
"""Held by who reads all kept pages, or puts them elsewhere, so that none is missed between two files."""


@contextmanager
def only_one(lake: Lake, name: str) -> Iterator[None]:
    """Wait for another run of that name on this machine, if there is one."""
    path = lake.root / "notes" / f".{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
