"""What is still to be read, as ranges of time. Pure: knows no threads, no files and no Stripe.

A list comes newest first, so within a range one goes on from a cursor until the range's beginning. Whoever has nothing
to do takes over the older half of the largest rest: so few pages are cut short, and all have work until the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tinko_pipelines.gateway.bulk import PAGE_SIZE

WORTH_SPLITTING_PAGES = 3.0
"""A rest of fewer pages is not shared: each share may end in a page cut short."""
FIRST_MOMENT = 1_262_304_000
"""The year 2010: there is nothing older at Stripe."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is in its list: the id it ends with, when its first and its last object were made, how many."""

    last_id: str
    newest: int | None
    oldest: int | None
    count: int


@dataclass(slots=True)
class Range:
    """Objects created in `[gte, lt)` (unix seconds), less those before the cursor `after`, which were had.

    `reached`: when the object under the cursor was created. `listed_by_time`: whether the list takes bounds of time at all.
    `open_ended`: its end is the list's own, so that none is asked for.
    """

    object_name: str
    gte: int
    lt: int
    after: str | None = None
    reached: int | None = None
    listed_by_time: bool = True
    open_ended: bool = False
    rows: int = 0
    density: float = 0.0
    """Objects a second around the cursor."""

    def advance(self, place: Place | None, has_more: bool) -> bool:
        """Note a page that was read; whether there is more to read."""
        if place is None:
            return False
        self.rows += place.count
        self.after = place.last_id or self.after
        if place.oldest is not None and place.newest is not None:
            self.reached = min(place.oldest, self.lt)
            self.density = place.count / max(1, place.newest - place.oldest)
        return has_more and (not self.listed_by_time or self.reached is None or self.reached >= self.gte)

    @property
    def pages_left(self) -> float:
        """How many pages the rest may have, if it is as dense as the last page; 0 before the first one."""
        return self.density * self.seconds_left() / PAGE_SIZE if self.listed_by_time else 0.0

    def seconds_left(self) -> int:
        """Of the time that is not read yet."""
        return max(0, (self.reached if self.reached is not None else self.lt) - max(self.gte, FIRST_MOMENT))

    def split(self) -> Range | None:
        """The older half of the rest, which this one then has no more; None where there is too little."""
        if self.reached is None or self.pages_left < WORTH_SPLITTING_PAGES or self.seconds_left() < 2:
            return None
        middle = max(self.gte, FIRST_MOMENT) + self.seconds_left() // 2
        older = Range(self.object_name, self.gte, middle)
        self.gte = middle
        return older

    def reopened(self) -> Range:
        """The same without its cursor, where the object under that is no more: by time, from its second on."""
        lt = self.lt if self.reached is None else min(self.lt, self.reached + 1)
        open_ended = self.open_ended and self.reached is None
        return Range(
            self.object_name, self.gte, lt, listed_by_time=self.listed_by_time, open_ended=open_ended
        )

    def told(self) -> dict[str, Any]:
        """As it is written down."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def from_told(told: Mapping[str, Any]) -> Range:
    """A range that was written down."""
    return Range(**{one.name: told[one.name] for one in fields(Range)})


def largest(ranges: Sequence[Range]) -> Range | None:
    """The one whose rest is most worth sharing."""
    worth = [one for one in ranges if one.pages_left >= WORTH_SPLITTING_PAGES and one.reached is not None]
    return max(worth, key=lambda one: one.pages_left, default=None)
