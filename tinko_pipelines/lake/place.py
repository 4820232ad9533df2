"""Where the lake's files lie: in a folder of this machine, or on an object store (`lake/remote.py`).

Names are relative, with slashes. Readers always read a folder; what the files hold is not known here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import make_private, sync, unwritable, write_whole
from tinko_pipelines.settings import Settings

File = tuple[str, bytes | memoryview]
"""A name, and all that the file is to hold."""


class Place(Protocol):
    """A place of files. What cannot be done raises StoreError, and leaves each file as it was or as it was to be."""

    @property
    def folder(self) -> Path:
        """Where this machine reads the files; up to date after `refresh`."""

    @property
    def where(self) -> str:
        """The place in a message, without a secret."""

    def refresh(self, *below: str) -> None:
        """Make `folder` hold what the place holds below these names."""

    def names(self, below: str) -> list[str]:
        """The files below a name, sorted."""

    def sizes(self, below: str) -> dict[str, int]:
        """The files below a name, each with its size in bytes."""

    def read(self, name: str) -> bytes | None:
        """All that a file holds; None where there is none."""

    def write(self, files: Iterable[File], *, durable: bool = False) -> None:
        """Make or replace files, each as a whole; `durable`: even if the machine loses power then."""

    def take(self, files: Iterable[tuple[Path, str]]) -> None:
        """Bring in files of this machine, each under a name; they are gone where they were. For their owner alone."""

    def copy_in(self, path: Path, name: str) -> None:
        """Make or replace a file with what one of this machine holds, as a whole; of any size, since it is not held in memory."""

    def delete(self, name: str) -> None:
        """Remove a file for good, if it is there."""


class Folder:
    """A folder of this machine, which needs no copy of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, str(folder)

    def refresh(self, *below: str) -> None:
        """Nothing to do."""

    def names(self, below: str) -> list[str]:
        """The files below a name, sorted; none that is being written."""
        return names_below(self.folder, below)

    def sizes(self, below: str) -> dict[str, int]:
        """The files below a name, each with its size in bytes; none that is being written."""
        return {name: (self.folder / name).stat().st_size for name in self.names(below)}

    def read(self, name: str) -> bytes | None:
        """All that a file holds; None where there is none."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.folder / name} cannot be read: {error.strerror or error}") from error

    def write(self, files: Iterable[File], *, durable: bool = False) -> None:
        """Make or replace files, each as a whole."""
        for name, content in files:
            write_whole(self.folder / name, content, durable=durable)

    def take(self, files: Iterable[tuple[Path, str]]) -> None:
        """Move files in."""
        for path, name in files:
            place = self.folder / name
            try:
                make_private(place.parent)
                path.replace(place)
            except OSError as error:
                raise unwritable(place, error) from error

    def copy_in(self, path: Path, name: str) -> None:
        """Make or replace a file with what one of this machine holds."""
        place = self.folder / name
        partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
        try:
            make_private(place.parent)
            shutil.copyfile(path, partial)
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise unwritable(place, error) from error

    def delete(self, name: str) -> None:
        """Remove a file for good, if it is there."""
        path = self.folder / name
        if path.exists():
            path.unlink(missing_ok=True)
            sync(path.parent)


def names_below(folder: Path, below: str) -> list[str]:
    """The files of a folder below a name, sorted; none that is hidden, such as those being written.

    Folders may come and go meanwhile.
    """
    found = []
    for place, _, files in os.walk(folder / below):
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def place_of(settings: Settings) -> Place:
    """Where this installation's lake lies. Reaches for nothing yet."""
    from tinko_pipelines.lake.remote import ObjectStore

    url = settings.lake_url
    if url is None:
        return Folder(settings.lake_dir)
    copy = settings.lake_dir / f"copy-{sha256(url.encode()).hexdigest()[:12]}"
    return ObjectStore(url, settings.lake_storage_options, copy)


def current_folder(settings: Settings) -> Path:
    """A folder with the lake's tables as they are now."""
    place = place_of(settings)
    place.refresh("tables", "derived")
    return place.folder
