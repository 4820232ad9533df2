"""Pages as Stripe sent them, compressed, in files of a few: written first, parsed after, and kept to be parsed again.

What a run has read lies in its own folder below `incoming` until the tables have it, and then below `raw` by account
and day. A run that dies leaves its folder to whoever looks next: what was read once is not read again.
"""

import fcntl
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.page import Page
from tinko_pipelines.lake.files import make_private, moved_into_place, sync, unwritable

ENDING = ".pages.zst"
_CODEC = pa.Codec("zstd", compression_level=1)


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
    with moved_into_place(path, durable=True) as partial, Path(partial).open("wb") as file:
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
            file.write(_CODEC.compress(orjson.dumps(about) + b"\n" + page.body, asbytes=True))


def read(path: Path) -> Iterator[KeptPage]:
    """The pages of one file; raises StoreError where it is damaged."""
    try:
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            content = stream.read()
        while content:
            line, _, rest = content.partition(b"\n")
            about = orjson.loads(line)
            body, content = rest[: about["bytes"]], rest[about["bytes"] :]
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
        raise StoreError(f"{path} cannot be read: {error}; remove it and ingest its day again") from error


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
        return sorted(self.folder.glob(f"*{ENDING}"))

    def taken(self, path: Path, account_id: str, day: datetime) -> None:
        """The tables have what this file holds."""
        place = self.root / "raw" / account_id / f"{day:%Y-%m-%d}" / path.name
        try:
            make_private(place.parent)
            path.replace(place)
        except OSError as error:
            raise unwritable(place, error) from error

    def close(self) -> None:
        """Let go; what is still here is for whoever looks next."""
        if not self.files():
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def abandoned(root: Path) -> Iterator[Incoming]:
    """Folders of runs that died with pages in them; each is held while it is looked at."""
    for folder in sorted((root / "incoming").glob("*")):
        if next(folder.glob(f"*{ENDING}"), None) is None:
            continue  # It has just begun, or nothing was lost.
        left = Incoming.__new__(Incoming)
        left.root, left.run, left.count, left.folder = root, folder.name, 0, folder
        left._lock = left._locked(blocking=False)
        if left._lock is not None:
            yield left
            left.close()


def being_read(root: Path) -> bool:
    """Whether a run is under way that keeps pages or parses them."""
    for lock in (root / "incoming").glob("*/.lock"):
        try:
            with lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue  # It has just ended.
        except OSError:
            return True
    return False


def stored(root: Path) -> list[Path]:
    """Every file of pages that is kept, by account and in the order of the days it was read on."""
    return sorted((root / "raw").rglob(f"*{ENDING}"))


def all_pages(root: Path) -> Iterator[KeptPage]:
    """Every page of them."""
    for path in stored(root):
        yield from read(path)


def rewrite(path: Path, change: Callable[[KeptPage], KeptPage | None]) -> None:
    """Put what `change` makes of each page of a file in its place, for good when this returns; None drops the page."""
    pages = [changed for page in read(path) if (changed := change(page)) is not None]
    if pages:
        write(path, pages)
    else:
        path.unlink()
        sync(path.parent)
