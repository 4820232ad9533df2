"""Where within the ladder a timing model may move its rungs, and to which hour it does. Knows no model but by its chances.

A rung is moved by 36 hours at most, never before what waits and the ladder's own rules allow, and never nearer to
the one before than 25 hours. Each rung keeps a place whatever the others chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

SHIFT_HOURS = 36
SPACING = timedelta(hours=25)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A failed payment with its verdict, and the moments at which it might be retried."""

    row: Row
    moments: tuple[datetime, ...]


class Foresight(Protocol):
    """A timing model as planning sees it."""

    @property
    def version(self) -> str:
        """Which one it is; it is stored with every plan it has a part in."""
        ...

    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        """For each question the chance at each of its moments; None where it has no opinion."""
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """A moment of the ladder; `not_before` where a rule (a payday, a wait) lets it only be put off further."""

    at: datetime
    not_before: datetime
    fixed: bool = False

    def hours(self) -> list[datetime]:
        """The moments it may be moved to, ascending: whole hours away from its own."""
        if self.fixed:
            return [self.at]
        moments = (self.at + timedelta(hours=shift) for shift in range(-SHIFT_HOURS, SHIFT_HOURS + 1))
        return [moment for moment in moments if moment >= self.not_before]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments of a plan, the rungs they came from, the chance seen at each, and the policy that chose them."""

    times: tuple[datetime, ...]
    rungs: tuple[Rung, ...]
    version: str
    chances: tuple[float | None, ...] = ()

    @property
    def last(self) -> datetime:
        """The last of its moments."""
        return self.times[-1]


def question(row: Row, rungs: Sequence[Rung]) -> Question:
    """All that has to be known to place these rungs."""
    return Question(row, tuple(sorted({moment for rung in rungs for moment in rung.hours()})))


def place(
    rungs: Sequence[Rung], chance_at: Mapping[datetime, float], after: datetime | None = None
) -> list[datetime]:
    """For each rung its best hour: the highest chance, at a tie the nearest to the rung, then the earlier.

    A rung's window ends later than 25 hours after that of the one before, so there always is an hour left.
    """
    chosen: list[datetime] = []
    last = after
    for rung in rungs:
        allowed = [moment for moment in rung.hours() if last is None or moment >= last + SPACING]
        best = max(
            allowed or [rung.at],
            key=lambda moment: (chance_at.get(moment, 0.0), -abs(moment - rung.at), rung.at - moment),
        )
        chosen.append(best)
        last = best
    return chosen
