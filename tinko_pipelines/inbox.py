"""Emptying the webhook inbox: cases are marked to be looked at, and the lake learns at once what it would learn later.

Both are done at least once and do not wait for each other. The look at changes every quarter of an hour is the net
below: what this cannot read at Stripe is left to it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake.landing import land
from tinko_pipelines.lake.portion import Results, together
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.lake.turns import only_one
from tinko_pipelines.ledger import events
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.inbox import mark

LOOK_SECONDS, IDLE_SECONDS = 1.0, 20.0
"""To start a run takes some seconds and as much processor time, so one that runs looks for more for a while."""
LANDED_AT_ONCE = 1_000
MARKED_AT_ONCE = 1_000
MOST_BATCHES = 1_000
DEAD_WAIT = timedelta(seconds=30)
"""What was not tried, since nothing had an answer, is tried after this."""
EMPTY_WAIT = timedelta(minutes=15)
"""A lake that was never filled is not begun with single events: it would be taken for all there is."""


@dataclass
class Emptied:
    """How many events were marked, are in the lake, could not be followed yet, wait, and were left to the look at changes."""

    marked: int = 0
    landed: int = 0
    failed: int = 0
    put_off: int = 0
    given_up: int = 0
    results: Results = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)

    def plus(self, other: "Emptied") -> "Emptied":
        """Both together."""
        sums = {name: value + getattr(other, name) for name, value in self._numbers().items()}
        return Emptied(
            **sums, results=together(self.results, other.results), reasons=self.reasons | other.reasons
        )

    def _numbers(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def counts(self) -> dict[str, int]:
        """The numbers by name, and the rows written."""
        return {**self._numbers(), "written": sum(result.written for result in self.results.values())}


def attend(empty: Callable[[], Emptied], waiting: Callable[[], int], max_seconds: float) -> Emptied:
    """Empty the inbox, and again whenever more has come, until nothing comes for a while or time is up."""
    ends = time.monotonic() + max_seconds
    done, active_at = empty(), time.monotonic()
    while time.monotonic() < min(ends, active_at + IDLE_SECONDS):
        if waiting():
            done, active_at = done.plus(empty()), time.monotonic()
        else:
            time.sleep(LOOK_SECONDS)
    return done


def mark_all(ledger: Ledger, now: Callable[[], datetime]) -> int:
    """Turn every unread event into marks on the cases it touches; events read."""
    marked = 0
    for _ in range(MOST_BATCHES):
        found = mark(ledger, now(), MARKED_AT_ONCE)
        marked += found
        if found < MARKED_AT_ONCE:
            break
    return marked


def land_waiting(
    ledger: Ledger, lake: Lake, reader: BulkReader, *, livemode: bool, max_seconds: float
) -> Emptied:
    """Bring the events of the reader's account into the lake, and what they name, until none is left or time is up."""
    done, until = Emptied(), time.monotonic() + max_seconds
    with only_one(lake, f"inbox-{reader.account_id}"):
        for _ in range(MOST_BATCHES):
            if time.monotonic() >= until:
                break
            some = events.unlanded(ledger, reader.account_id, livemode, reader.now(), LANDED_AT_ONCE)
            if not some:
                break
            _land(ledger, lake, reader, some, until, done)
    return done


def _land(
    ledger: Ledger,
    lake: Lake,
    reader: BulkReader,
    some: Mapping[str, str | None],
    until: float,
    done: Emptied,
) -> None:
    try:
        lake.refuse_if_empty(reader.account_id)
    except StoreError as error:
        events.put_off(ledger, some, reader.now() + EMPTY_WAIT, str(error))
        done.put_off += len(some)
        done.reasons.add(str(error))
        return
    found = land(reader, lake, {name: text for name, text in some.items() if text is not None}, until)
    # Only now are the rows on disk.
    events.landed(ledger, set(some) - set(found.failed) - found.untried, reader.now())
    given_up = events.failed(ledger, found.failed, reader.now())
    if found.failed and found.untried:
        events.put_off(ledger, found.untried, reader.now() + DEAD_WAIT, "nothing could be read at Stripe")
        done.put_off += len(found.untried)
    done.landed += len(some) - len(found.failed) - len(found.untried)
    done.failed += len(found.failed) - given_up
    done.given_up += given_up
    done.reasons |= set(sorted(found.failed.values())[:10])
    done.results = together(done.results, found.results)
