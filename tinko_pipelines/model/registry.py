"""The timing models that were trained: candidate, then promoted, then retired. Keeps them; judges none.

Each version is a folder that never changes: artefact, card, and what is known of its making. Which one is in use
says the journal. Every writer takes one lock; a version appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.lake.files import sync, unwritable, write_whole
from tinko_pipelines.model.artefact import refuse_unless_sound, sha256_of
from tinko_pipelines.model.journal import Act, Journal, Pointer

ARTEFACT_FILE, CARD_FILE, PAGE_FILE, VERSION_FILE = "model.skops", "card.json", "card.html", "version.json"
SHORTEST = 4
"""So many characters of a version's id at least tell it from the others."""


@dataclass(frozen=True, slots=True)
class Version:
    """A trained model as the registry knows it."""

    id: str
    sha256: str
    made_at: str
    made_by: str
    reason: str
    code_version: str
    data_from: str | None = None
    data_until: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A version and its state: `candidate`, `promoted`, `retired`, or `damaged` where nothing can be read of it."""

    version: Version
    state: str


class Registry:
    """The versions below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder)
        self._seen: tuple[tuple[int, ...] | None, Pointer] | None = None

    def add(
        self,
        artefact: bytes,
        card: Mapping[str, Any],
        card_html: str,
        *,
        by: str,
        reason: str,
        now: datetime,
        code_version: str,
    ) -> Version:
        """Keep a candidate; an artefact that could not be opened later is refused now."""
        sha256 = sha256_of(artefact)
        refuse_unless_sound(artefact, "the candidate", sha256)
        window = card.get("data_window") or {}
        made = Version(
            f"{now:%Y%m%dT%H%M%SZ}-{sha256[:8]}", sha256, now.isoformat(), by, reason, code_version,
            window.get("from"), window.get("until"),
        )  # fmt: skip
        parts = {
            ARTEFACT_FILE: artefact,
            CARD_FILE: json.dumps(card, indent=2).encode(),
            PAGE_FILE: card_html.encode(),
            VERSION_FILE: json.dumps(asdict(made), indent=2).encode(),
        }
        with self._lock():
            if not self._path(made.id).exists():
                self._place(made.id, parts)
                self.journal.note(self._act("added", made, by, reason, now))
        return made

    def versions(self) -> list[Standing]:
        """All of them, the newest first."""
        pointer = self.journal.pointer()
        once = {act.version for act in self.journal.history() if act.act in ("promote", "rollback")}
        return [
            self._standing(path, pointer, once)
            for path in sorted(self.folder.glob("versions/*"), reverse=True)
        ]

    def version(self, reference: str | None = None) -> Version:
        """The version of that id or beginning or end of it; the newest by default. InputError where that is not one."""
        known = [one.version for one in self.versions()]
        if reference is None and known:
            return known[0]
        wanted = reference or ""
        found = [one for one in known if one.id == wanted] or [
            one
            for one in known
            if len(wanted) >= SHORTEST and (one.id.startswith(wanted) or one.id.endswith(wanted))
        ]
        if len(found) == 1:
            return found[0]
        what = "more than one version is" if found else "there is no version" if reference else "no model is"
        named = f" called {reference!r}" if reference else " trained yet"
        raise InputError(f"{what}{named}: see `tinko model list`, or run `tinko model train`")

    def card(self, version: Version) -> dict[str, Any]:
        """What was measured of it when it was made."""
        path = self._path(version.id) / CARD_FILE
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{path} cannot be read: {error}; train the model again") from error

    def page_path(self, version: Version) -> Path:
        """Where its card lies as a page."""
        return self._path(version.id) / PAGE_FILE

    def artefact(self, version: Version) -> bytes:
        """The artefact's bytes, after they were held against kind, hash and types; StoreError where they fail."""
        path = self._path(version.id) / ARTEFACT_FILE
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}; promote another version") from error
        refuse_unless_sound(data, str(path), version.sha256)
        return data

    def promoted(self) -> Version | None:
        """The version in use, None while there is none; what another process promotes is seen at the next call."""
        pointer = self._pointer()
        if pointer.promoted is None:
            return None
        version = self._read_version(self._path(pointer.promoted) / VERSION_FILE)
        if pointer.act is not None and version.sha256 != pointer.act.sha256:
            raise StoreError(
                f"version {version.id} is not what was promoted (its hash differs): promote another version"
            )
        return version

    def promote(
        self, version: Version, *, by: str, reason: str, now: datetime, anyway: bool = False, detail: str = ""
    ) -> Act:
        """Put it to use from the next plan on. Whether it may be is judged before, by the gates."""
        self.artefact(version)
        with self._lock():
            pointer = self.journal.pointer()
            if pointer.promoted == version.id:
                raise InputError(f"version {version.id} is in use already")
            act = self._act("promote", version, by, reason, now, anyway=anyway, detail=detail)
            return self.journal.point(pointer.pushed(version.id), act)

    def rollback(self, *, by: str, reason: str, now: datetime) -> Act:
        """Back to the version in use before; to the ladder alone where there is none that can still be opened."""
        with self._lock():
            left = list(self.journal.pointer().versions)
            if not left:
                raise InputError(
                    "no model is in use, so there is nothing to roll back: the ladder plans alone"
                )
            away, skipped = left.pop(), []
            while left and (why := self._unusable(left[-1])):
                skipped.append(f"{left.pop()} was passed over: {why}")
            target = self._read_version(self._path(left[-1]) / VERSION_FILE) if left else None
            detail = "; ".join((f"away from {away}", *skipped))
            act = self._act("rollback", target, by, reason, now, detail=detail)
            return self.journal.point(Pointer(tuple(left)), act)

    def note(self, act: str, version: Version, *, by: str, reason: str, now: datetime, detail: str) -> None:
        """Keep in the history what changed nothing: a refused promotion, say."""
        with self._lock():
            self.journal.note(self._act(act, version, by, reason, now, detail=detail))

    def _standing(self, path: Path, pointer: Pointer, once: set[str | None]) -> Standing:
        try:
            version = self._read_version(path / VERSION_FILE)
        except StoreError as error:
            return Standing(Version(path.name, "", "", "", str(error), ""), "damaged")
        return Standing(version, _state(version.id, pointer, once))

    def _pointer(self) -> Pointer:
        try:
            found = self.journal.pointer_path.stat()
            mark: tuple[int, ...] | None = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            mark = None
        if self._seen is None or self._seen[0] != mark:
            self._seen = mark, self.journal.pointer()
        return self._seen[1]

    def _unusable(self, name: str) -> str | None:
        try:
            self.artefact(self._read_version(self._path(name) / VERSION_FILE))
        except StoreError as error:
            return str(error)
        return None

    @staticmethod
    def _act(
        act: str,
        version: Version | None,
        by: str,
        reason: str,
        now: datetime,
        *,
        anyway: bool = False,
        detail: str = "",
    ) -> Act:
        name, sha256 = (version.id, version.sha256) if version else (None, "")
        return Act(0, act, name, now.isoformat(), by, reason, anyway, detail, sha256)

    def _path(self, name: str) -> Path:
        return self.folder / "versions" / name

    @staticmethod
    def _read_version(path: Path) -> Version:
        try:
            return Version(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{path} cannot be read: {error}; remove its folder, or train again") from error

    def _place(self, name: str, parts: Mapping[str, bytes]) -> None:
        """Write the folder beside its place and rename it; what a killed one left there is swept away first."""
        drafts = self.folder / "drafts"
        try:
            shutil.rmtree(drafts, ignore_errors=True)
            drafts.mkdir(parents=True)
            for file, data in parts.items():
                write_whole(drafts / file, data, durable=True)
            target = self._path(name)
            target.parent.mkdir(exist_ok=True)
            drafts.rename(target)
            sync(target.parent)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time; the system frees the lock of a process that dies."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _state(name: str, pointer: Pointer, once: set[str | None]) -> str:
    if name == pointer.promoted:
        return "promoted"
    return "retired" if name in once or name in pointer.versions else "candidate"
