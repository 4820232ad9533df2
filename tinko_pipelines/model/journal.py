"""The registry's pointer to the version in use, and its history. The pointer is the truth; the history follows it.

Each act is swapped in with the pointer as a whole, and written to the history after it. Whoever is killed between
the two leaves the line to the next one who takes the lock.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import sync, write_whole

POINTER_FILE = "promoted.json"
HISTORY_FILE = "history.jsonl"
MOST_STEPS_BACK = 100


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the history: what was done with which version, when, by whom and why."""

    number: int
    act: str
    version: str | None
    at: str
    by: str
    reason: str
    anyway: bool = False
    detail: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Pointer:
    """The versions in use one after the other, the present one last, and the act that brought it about."""

    versions: tuple[str, ...] = ()
    act: Act | None = None

    @property
    def promoted(self) -> str | None:
        """The version in use; None while the ladder alone plans."""
        return self.versions[-1] if self.versions else None

    def pushed(self, version: str) -> Pointer:
        """With that version in use."""
        return replace(self, versions=(*self.versions, version)[-MOST_STEPS_BACK:])


class Journal:
    """Reads and writes both files of one registry; writing needs the registry's lock."""

    def __init__(self, folder: Path) -> None:
        self.pointer_path = folder / POINTER_FILE
        self.history_path = folder / HISTORY_FILE

    def pointer(self) -> Pointer:
        """The pointer as it stands; the first one where there is none. A damaged one is a StoreError."""
        try:
            found = json.loads(self.pointer_path.read_bytes())
            act = Act(**found["act"]) if found["act"] else None
            return Pointer(tuple(str(name) for name in found["versions"]), act)
        except FileNotFoundError:
            return Pointer()
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.pointer_path} is damaged: remove it, and `tinko model promote` the version to use"
            ) from error

    def history(self) -> list[Act]:
        """Every act in its order; a line cut short by a power cut is left out."""
        acts = {act.number: act for act in self._written()}
        last = self.pointer().act
        if last is not None:
            acts.setdefault(last.number, last)
        return [acts[number] for number in sorted(acts)]

    def note(self, act: Act) -> None:
        """Write down what changes no pointer."""
        self.heal()
        self._append(replace(act, number=self._next_number()))

    def point(self, pointer: Pointer, act: Act) -> Act:
        """Swap the pointer, then write its act down."""
        self.heal()
        act = replace(act, number=self._next_number())
        body: dict[str, Any] = {"versions": pointer.versions, "act": asdict(act)}
        write_whole(self.pointer_path, json.dumps(body, indent=2).encode(), durable=True)
        self._append(act)
        return act

    def heal(self) -> None:
        """Write down the pointer's act if whoever swapped it in was killed before he could."""
        last = self.pointer().act
        if last is not None and last.number not in {act.number for act in self._written()}:
            self._append(last)

    def _next_number(self) -> int:
        return max((act.number for act in self._written()), default=0) + 1

    def _written(self) -> list[Act]:
        try:
            lines = self.history_path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        acts = []
        for line in lines:
            try:
                acts.append(Act(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return acts

    def _append(self, act: Act) -> None:
        torn = self.history_path.exists() and self.history_path.stat().st_size and not self._ends_whole()
        line = (b"\n" if torn else b"") + json.dumps(asdict(act)).encode() + b"\n"
        new = not self.history_path.exists()
        handle = os.open(self.history_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            sync(self.history_path.parent)

    def _ends_whole(self) -> bool:
        with self.history_path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
