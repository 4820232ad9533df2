"""Events from a file into the inbox: JSON lines, a JSON list, or pages of Stripe's list, as its CLI or a log has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import orjson

from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger.events import Accounts, Allowed, Told, put, read_event
from tinko_pipelines.ledger.store import Ledger

LINE_BYTES_MAX = 64_000_000
"""Of one line, which may be a whole list; also of a document over many lines."""
EVENTS_MOST = 1_000_000
REASONS_SHOWN_MAX = 100
_PUT_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events were new, known already, and refused; with the places of the first refused ones, and why."""

    taken: int
    known: int
    refused: int
    reasons: tuple[str, ...]


def replay(
    ledger: Ledger, file: BinaryIO, accounts: Accounts, allowed: Allowed, *, livemode: bool, now: datetime
) -> Replayed:
    """Put every event of a file into the inbox. What cannot be an event of ours is refused, and the rest goes in."""
    taken = known = refused = 0
    reasons: list[str] = []
    few: list[Told] = []

    def hand_in() -> None:
        nonlocal taken, known
        new = len(put(ledger, few, now, allowed))
        taken, known = taken + new, known + len(few) - new
        few.clear()

    for count, (place, body) in enumerate(events_in(file), 1):
        if count > EVENTS_MOST:
            hand_in()
            raise InputError(
                f"{place}: these are more than {EVENTS_MOST} events; those before are in, split the rest"
            )
        try:
            few.append(read_event(body, accounts, livemode=livemode))
        except InputError as error:
            refused += 1
            reasons += [f"{place}: {error}"] if refused <= REASONS_SHOWN_MAX else []
        if len(few) >= _PUT_AT_ONCE:
            hand_in()
    hand_in()
    return Replayed(taken, known, refused, tuple(reasons))


def events_in(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The JSON of each event with its place; what is none is handed on as it is, for `read_event` to say so."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        if number == 1 and line.strip() in (b"[", b"{"):
            yield from _events_of(_document(line + file.read(LINE_BYTES_MAX)), "")
            return
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(LINE_BYTES_MAX)):
            pass
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            found = orjson.loads(line)
        except ValueError:
            yield place, line
            continue
        if _is_list(found):
            yield from _events_of(found, f"{place}, ")
        else:
            yield place, line.strip()


def _document(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise InputError(
            f"the file begins as one JSON document over many lines and cannot be read as one of at most"
            f" {LINE_BYTES_MAX} bytes ({error}): hand it in as JSON lines"
        ) from None


def _is_list(found: Any) -> bool:
    return isinstance(found, list) or (isinstance(found, dict) and found.get("object") == "list")


def _events_of(found: Any, where: str) -> Iterator[tuple[str, bytes]]:
    """The events of a list or a page of Stripe's, or the one event."""
    if isinstance(found, dict):
        data = found.get("data") if _is_list(found) else [found]
        found = data if isinstance(data, list) else [None]
    for number, event in enumerate(found, 1):
        yield f"{where}event {number}", orjson.dumps(event)
