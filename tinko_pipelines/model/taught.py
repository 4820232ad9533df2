"""What operators taught: wordings with their category, kept beside the models and used in every later training.

A row is kept or refused by itself, with the reason; nothing is learned here.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from tinko_pipelines.declines.classify import classify, wording
from tinko_pipelines.declines.records import CATEGORIES, Decline, as_text
from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import write_whole
from tinko_pipelines.model.text import TAUGHT_WEIGHT, Example
from tinko_pipelines.model.wording import spelled

TAUGHT_FILE = "taught.jsonl"
DIGITS_MAX = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """A line of the file that is not kept, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Taught:
    """What became of a file: rows that are new, rows that another category replaced, rows known, lines refused."""

    added: int = 0
    replaced: int = 0
    known: int = 0
    kept_in_all: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    category: str
    gateway: str | None = None


class _RefusedRowError(Exception):
    """Why a row cannot be learned from."""


def read_taught(directory: Path) -> list[Example]:
    """Everything that was taught so far, for the next training."""
    return [Example(row.text, row.category, row.gateway, TAUGHT_WEIGHT) for row in _kept(directory).values()]


def teach(lines: Iterable[str], directory: Path, on: date) -> Taught:
    """Keep the rows of a file of JSON lines; a later file wins over an earlier one, and a bad line stops no other."""
    new: dict[str, tuple[int, _Row]] = {}
    refused: list[Refused] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _row(line, on)
            _agree(row, *new.get(spelled(row.text), (number, row)))
            new[spelled(row.text)] = (number, row)
        except _RefusedRowError as error:
            refused.append(Refused(number, str(error)))
    return _keep({key: row for key, (_, row) in new.items()}, directory, refused)


def _agree(row: _Row, line: int, earlier: _Row) -> None:
    if earlier.category != row.category:
        raise _RefusedRowError(f"it contradicts line {line}, which says {earlier.category}")


def _keep(new: dict[str, _Row], directory: Path, refused: list[Refused]) -> Taught:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / f"{TAUGHT_FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = _kept(directory)
            rows = old | new
            if rows != old:
                text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows.values())
                write_whole(directory / TAUGHT_FILE, text.encode())
    except OSError as error:
        raise StoreError(f"cannot keep what was taught in {directory}: {error.strerror}") from error
    replaced = sum(key in old and old[key].category != row.category for key, row in new.items())
    added = len(rows) - len(old)
    return Taught(added, replaced, len(new) - added - replaced, len(rows), refused)


def _kept(directory: Path) -> dict[str, _Row]:
    try:
        text = (directory / TAUGHT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        rows = [_Row(**json.loads(line)) for line in text.splitlines()]
    except (ValueError, TypeError) as error:
        raise StoreError(f"{directory / TAUGHT_FILE} is damaged: {error}; correct or remove it") from error
    return {spelled(row.text): row for row in rows}


def _row(line: str, on: date) -> _Row:
    values: object = None
    with suppress(ValueError, RecursionError):
        values = json.loads(line)
    if not isinstance(values, dict):
        raise _RefusedRowError("it is not a JSON object; write one object per line")
    code, category = as_text(values.get("code")), as_text(values.get("category"))
    text = wording(code, as_text(values.get("text")))
    if category not in CATEGORIES:
        raise _RefusedRowError(f"there is no category {category!r}; known are {', '.join(CATEGORIES)}")
    if not spelled(text):
        raise _RefusedRowError("neither `text` nor `code` holds a word to learn from")
    if sum(mark.isdigit() for mark in text) > DIGITS_MAX:
        raise _RefusedRowError(
            "it holds so many digits that it may name a card or an account; leave them out"
        )
    verdict = classify(Decline(code=code), on) if code else None
    if verdict is not None and verdict.source == "rule" and verdict.category != category:
        raise _RefusedRowError(f"it contradicts the rule {verdict.rule}, which says {verdict.category}")
    return _Row(text, category, as_text(values.get("gateway")))
