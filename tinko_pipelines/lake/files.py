"""Writing files so that a reader sees the old one or the new one, and saying plainly why one cannot be written."""

import itertools
import os
from pathlib import Path

from tinko_pipelines.errors import StoreError

_NUMBERS = itertools.count()
"""Each partial file of this process has a name of its own."""


def write_whole(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Put a file in place in one step, in the place of the one before; `durable`: even if the machine loses power then."""
    partial = path.parent / f".{path.name}.{os.getpid()}-{next(_NUMBERS)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        if durable:
            sync(partial)
        partial.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def make_private(folder: Path) -> None:
    """Pages as Stripe sent them, and what is malformed, hold names and addresses: for the owner alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(path: Path, error: OSError) -> StoreError:
    """What to tell when a place cannot be written to."""
    why = error.strerror or str(error)
    return StoreError(f"{path} cannot be written: {why}; make room or check its rights")


def sync(path: Path) -> None:
    """What a file holds, or what a folder lists, is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
