"""Pages as Stripe sent them, compressed, in files of a few: written first, parsed after, and kept to be parsed again.

What a run has read lies in its own folder below `incoming` until the tables have it, and then below `raw` by account
and day. A run that dies leaves its folder to whoever looks next: what was read once is not read again.
"""

import fcntl
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.page import Page
from tinko_pipelines.lake.files import make_private, unwritable, write_whole
from tinko_pipelines.lake.place import Place

ENDING = ".pages.zst"


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page from the disk. `known`: what a deleted object does not say of itself any more."""

    object_name: str
    account_id: str
    livemode: bool
    fetched_at: datetime
    api_version: str
    single: bool
    known: dict[str, Any] | None
    body: bytes


def write(path: Path, pages: Sequence[KeptPage]) -> None:
    """One file of these pages; when this returns they are on the disk."""
    write_whole(path, packed(pages), durable=True)


def packed(pages: Iterable[KeptPage]) -> memoryview:
    """What a file of these pages is to hold."""
    made = pa.BufferOutputStream()
    # One stream for all: to begin one for each page costs as much again as compressing it, and three times the room.
    with pa.CompressedOutputStream(made, "zstd") as stream:
        for page in pages:
            about = {
                "object": page.object_name,
                "account": page.account_id,
                "livemode": page.livemode,
                "fetched_at": page.fetched_at.isoformat(),
                "api_version": page.api_version,
                "single": page.single,
                "known": page.known,
                "bytes": len(page.body),
            }
            stream.write(orjson.dumps(about) + b"\n")
            stream.write(page.body)
    return memoryview(made.getvalue())


def read(path: Path) -> Iterator[KeptPage]:
    """The pages of one file on this machine; raises StoreError where it is damaged."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error
    return unpacked(packed, str(path))


def unpacked(packed: bytes, name: str) -> Iterator[KeptPage]:
    """The pages in the content of a file of that name; raises StoreError where it is damaged."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            content = stream.read()
        at = 0
        while at < len(content):
            ends = content.index(b"\n", at)
            about = orjson.loads(content[at:ends])
            at = ends + 1 + about["bytes"]
            body = content[ends + 1 : at]
            yield KeptPage(
                about["object"],
                about["account"],
                about["livemode"],
                datetime.fromisoformat(about["fetched_at"]),
                about["api_version"],
                about["single"],
                about["known"],
                body,
            )
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{name} cannot be read: {error}; remove it and ingest its day again") from error


def kept(
    page: Page, livemode: bool, *, single: bool = False, known: dict[str, Any] | None = None
) -> KeptPage:
    """A page just read, as it is to be kept."""
    return KeptPage(
        page.object_name,
        page.account_id,
        livemode,
        page.fetched_at,
        page.api_version,
        single,
        known,
        page.body,
    )


@dataclass
class Incoming:
    """One run's pages that the tables do not have yet. Held by a lock that its death lets go."""

    root: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    count: int = 0
    _lock: IO[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder = self.root / "incoming" / self.run
        make_private(self.folder)
        self._lock = self._locked(blocking=True)

    def _locked(self, *, blocking: bool) -> IO[bytes] | None:
        try:
            file = (self.folder / ".lock").open("ab")
        except FileNotFoundError:
            if blocking:
                raise
            return None  # Its own run, or who took it in, has just ended and removed it.
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def add(self, pages: Sequence[KeptPage]) -> Path:
        """Keep pages; they are safe when this returns."""
        self.count += 1
        path = self.folder / f"{self.run}-{self.count:06}{ENDING}"
        write(path, pages)
        return path

    def files(self) -> list[Path]:
        """What it holds, oldest first."""
        return _pages_in(self.folder)

    def close(self) -> None:
        """Let go; what is still here is for whoever looks next."""
        if not self.files():
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _pages_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(ENDING))
    except (FileNotFoundError, NotADirectoryError):
        return []  # Its run has ended, or it is no folder of a run.


def abandoned(root: Path) -> Iterator[Incoming]:
    """Folders of runs that died with pages in them; each is held while it is looked at."""
    for folder in sorted((root / "incoming").glob("*")):
        if not _pages_in(folder):
            continue  # It has just begun, or nothing was lost.
        left = Incoming.__new__(Incoming)
        left.root, left.run, left.count, left.folder = root, folder.name, 0, folder
        left._lock = left._locked(blocking=False)
        if left._lock is not None:
            yield left
            left.close()


def being_read(root: Path) -> bool:
    """Whether a run is under way on this machine that keeps pages or parses them."""
    for lock in (root / "incoming").glob("*/.lock"):
        try:
            with lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue  # It has just ended.
        except OSError:
            return True
    return False


def raw_name(path: Path, account_id: str, day: datetime) -> str:
    """What a file of pages is called in the lake once the tables have what it holds."""
    return f"raw/{account_id}/{day:%Y-%m-%d}/{path.name}"


def all_pages(place: Place) -> Iterator[KeptPage]:
    """Every page that is kept, by account and in the order of the days it was read on."""
    for name in files_of_pages(place, "raw"):
        yield from pages_in(place, name)


def files_of_pages(place: Place, below: str) -> list[str]:
    """The names of such files below one, sorted."""
    return [name for name in place.names(below) if name.endswith(ENDING)]


def pages_in(place: Place, name: str) -> Iterator[KeptPage]:
    """The pages of a file; none where it is gone. Raises StoreError where it is damaged."""
    content = place.read(name)
    if content is not None:
        yield from unpacked(content, f"{place.where}/{name}")


def rewrite(place: Place, name: str, change: Callable[[KeptPage], KeptPage | None]) -> None:
    """Put what `change` makes of each page of a file in its place, for good when this returns; None drops the page."""
    pages = [changed for page in pages_in(place, name) if (changed := change(page)) is not None]
    if pages:
        place.write([(name, packed(pages))], durable=True)
    else:
        place.delete(name)
