"""A lake on an object store, reached through fsspec, with a copy of its tables on this machine for the readers.

The store comes first: a file is put there, then into the copy, then its mark is written down. What is cut short
between is made good by the next `refresh`, which makes the copy what the store lists. Raw pages are not copied.
"""

from __future__ import annotations

import fcntl
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import orjson

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import make_private, unwritable, write_whole
from tinko_pipelines.lake.place import File, names_below
from tinko_pipelines.redact import HIDDEN, redacted, shown

COPIED = ("tables", "derived", "notes")
"""What readers on this machine need as files."""
AT_ONCE = 8
_MARKS = ("ETag", "etag", "generation", "content_md5", "LastModified", "last_modified", "created")
"""By what the stores tell one version of a file from another; the first that a store knows is taken."""
_OPEN_OPTIONS = frozenset({"endpoint_url", "region_name", "account_name", "project"})
"""Options that a message may show; all others may be secrets."""
_T = TypeVar("_T")
_R = TypeVar("_R")
_SIGNED = re.compile(r"(https?://[^\s?\"']*)\?[^\s\"']*")


class ObjectStore:
    """Files below `url`; `options` are fsspec's for it. `folder` is the copy's, and nothing else may lie in it."""

    def __init__(self, url: str, options: Mapping[str, Any], folder: Path) -> None:
        self.folder, self.where = folder, shown(url)
        self._url, self._options = url, options

    # What a place does

    def refresh(self, *below: str) -> None:
        """Make the copy hold what the store lists, fetching only what changed."""
        with self._copy() as marks:
            for prefix in below:
                there, here = self._listed(prefix), set(names_below(self.folder, prefix))
                for gone in here - there.keys():
                    (self.folder / gone).unlink(missing_ok=True)
                for gone in [name for name in marks if _is_below(name, prefix) and name not in there]:
                    del marks[gone]
                stale = [name for name, mark in there.items() if name not in here or marks.get(name) != mark]
                for name in _side_by_side(self._fetch, stale):
                    marks[name] = there[name]

    def names(self, below: str) -> list[str]:
        """The files below a name, sorted."""
        return sorted(self._listed(below))

    def sizes(self, below: str) -> dict[str, int]:
        """The files below a name, each with its size in bytes."""
        # A mark begins with the size.
        return {name: int(mark.split(" ")[0]) for name, mark in self._listed(below).items()}

    def read(self, name: str) -> bytes | None:
        """All that a file holds; None where there is none."""
        with self._asking(f"read {name}"):
            try:
                return bytes(self._store.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def write(self, files: Iterable[File], *, durable: bool = False) -> None:
        """Put files, several side by side; a store makes each visible as a whole, and safe."""
        with self._copy() as marks:
            for name, mark in _side_by_side(self._put, files):
                if _is_copied(name):
                    marks[name] = mark

    def take(self, files: Iterable[tuple[Path, str]]) -> None:
        """Put files of this machine; each is removed here when it is safe there."""

        def take(file: tuple[Path, str]) -> None:
            path, name = file
            try:
                self._send(name, path.read_bytes())
                path.unlink()
            except OSError as error:
                raise unwritable(path, error) from error

        for _ in _side_by_side(take, files):
            pass

    def copy_in(self, path: Path, name: str) -> None:
        """Put a file of this machine, which stays; a store makes it visible as a whole. Not for what is copied."""
        with self._asking(f"write {name}"):
            self._store.put_file(str(path), self._at(name))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._copy() as marks:
            with self._asking(f"delete {name}"), suppress(FileNotFoundError):
                self._store.rm_file(self._at(name))
            (self.folder / name).unlink(missing_ok=True)
            marks.pop(name, None)

    # The store

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        with self._asking("open"):
            store, root = fsspec.url_to_fs(self._url, **{"use_listings_cache": False, **self._options})
            return store, root.rstrip("/")

    @property
    def _store(self) -> Any:
        return self._opened[0]

    def _at(self, name: str) -> str:
        return f"{self._opened[1]}/{name}"

    def _listed(self, below: str) -> dict[str, str]:
        """The files below a name, each with what tells this version of it from others."""
        with self._asking(f"list {below}"):
            self._store.invalidate_cache()
            found = self._store.find(self._at(below), detail=True)
        begin = len(self._at(""))
        listed = {path[begin:]: _mark(info) for path, info in found.items()}
        return {name: mark for name, mark in listed.items() if _is_plain(name)}

    def _send(self, name: str, content: bytes | memoryview) -> None:
        with self._asking(f"write {name}"):
            self._store.pipe_file(self._at(name), bytes(content))

    def _put(self, file: File) -> tuple[str, str]:
        name, content = file
        self._send(name, content)
        if not _is_copied(name):
            return name, ""
        with self._asking(f"write {name}"):
            mark = _mark(self._store.info(self._at(name)))
        write_whole(self.folder / name, content)
        return name, mark

    def _fetch(self, name: str) -> str:
        content = self.read(name)
        if content is not None:
            write_whole(self.folder / name, content)
        return name

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """The libraries below raise what they like, and may say more than a log is to hold."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(
                f"the lake at {self.where} failed to {what}: {self._harmless(error)};"
                " check TINKO_LAKE_URL, TINKO_LAKE_OPTIONS, the store's credentials and the network"
            ) from None

    def _harmless(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        endpoint = str(self._options.get("endpoint_url", ""))
        text = redacted(text, self._url, endpoint, secrets=_secrets(self._options))
        return _SIGNED.sub(rf"\1?{HIDDEN}", text)

    # The copy

    @contextmanager
    def _copy(self) -> Iterator[dict[str, str]]:
        """The copy for one process alone, with the marks of what it holds, which are kept even if the work fails."""
        make_private(self.folder)
        path = self.folder / ".marks.json"
        try:
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before: dict[str, str] = orjson.loads(path.read_bytes()) if path.exists() else {}
            marks = dict(before)
            try:
                yield marks
            finally:
                if marks != before:
                    write_whole(path, orjson.dumps(marks))


def _side_by_side(work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Waiting for the store is most of the work. No more is held in memory than is under way."""
    with ThreadPoolExecutor(AT_ONCE, "store") as pool:
        waiting: deque[Future[_R]] = deque()
        for item in items:
            if len(waiting) >= AT_ONCE:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()


def _mark(info: Mapping[str, Any]) -> str:
    version = next((str(info[key]) for key in _MARKS if info.get(key)), "")
    return f"{info.get('size')} {version}"


def _is_copied(name: str) -> bool:
    return name.startswith(tuple(f"{one}/" for one in COPIED))


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}/")


def _is_plain(name: str) -> bool:
    """A store's names are free: one that leads out of the copy, or is hidden in it, is none of the lake's."""
    return bool(name) and not any(part.startswith(".") or not part for part in name.split("/"))


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif isinstance(value, str) and key not in _OPEN_OPTIONS:
            yield value
