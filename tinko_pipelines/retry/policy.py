"""When a debt is retried: a plain ladder per category. Caps and gates come after, mails are in their sequences."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tinko_pipelines.ledger.limits import Limits
from tinko_pipelines.outreach import sequences
from tinko_pipelines.outreach.sequences import Sequences
from tinko_pipelines.retry.timing import SPACING, Foresight, Question, Row, Rung, Schedule, place, question

if TYPE_CHECKING:
    from tinko_pipelines.settings import Settings

DEFAULT_LADDER_DAYS = (1.0, 3.0, 5.0, 7.0, 14.0)
LADDER_DAYS: dict[str, tuple[float, ...]] = {
    "insufficient_funds": (2.0, 5.0, 9.0, 14.0, 20.0),
    "limit_exceeded": (1.0, 3.0, 7.0, 14.0),
    "issuer_unavailable": (1.0, 2.0, 3.0, 5.0, 10.0),
    "processing_error": (1.0, 2.0, 3.0, 5.0, 10.0),
    "do_not_honor": (2.0, 5.0, 9.0, 14.0),
    "suspected_fraud": (3.0, 8.0),
    "unknown": (2.0, 5.0, 9.0, 14.0),
}
PAYDAYS = (1, 15)


@dataclass(frozen=True, slots=True)
class Policy:
    """The knobs of planning. `version` is stored with every plan made by it."""

    version: str = "ladder-1"
    max_age_days: int = 30
    billing_mode: str = "beside"
    limits: Limits = field(default_factory=Limits)
    max_cases: int = 100_000
    tail_days: float = 7.0
    sequences: Sequences = field(default_factory=sequences.default)
    foresight: Foresight | None = None
    trouble: list[str] = field(default_factory=list)
    """Why the ladder planned although a model is promoted; filled while it is asked."""

    @classmethod
    def from_settings(
        cls, settings: "Settings", foresight: Foresight | None = None, trouble: Sequence[str] = ()
    ) -> "Policy":
        """The policy that the environment asks for, with the timing model in use, or why there is none."""
        return cls(
            max_age_days=settings.enrol_max_age_days,
            billing_mode=settings.billing_mode,
            limits=Limits.from_settings(settings),
            max_cases=settings.max_cases_per_plan,
            sequences=sequences.load(settings.sequences),
            foresight=foresight,
            trouble=list(trouble),
        )

    def rungs(
        self, case_id: str, category: str, last_failed_at: datetime, now: datetime, wait_hours: float | None
    ) -> list[Rung]:
        """The moments of the retries, ascending, all in the future and a day or more after the failure.

        Each says how early it may be at most; a payday is not brought forward.
        """
        base = max(last_failed_at, now - timedelta(hours=20))
        earliest = earliest_retry(last_failed_at, now, wait_hours)
        found: list[Rung] = []
        for days in LADDER_DAYS.get(category, DEFAULT_LADDER_DAYS):
            moment = base + timedelta(days=days)
            if category == "insufficient_funds":
                moment = _payday_near(moment)
            moment = _morning(moment, case_id)
            if moment >= earliest and (not found or moment - found[-1].at >= SPACING):
                found.append(rung_at(moment, category, earliest))
        return found or [rung_at(_morning(earliest + timedelta(days=1), case_id), category, earliest)]

    def foresee(self, asked: Sequence[tuple[Row, Sequence[Rung]]]) -> list[dict[datetime, float] | None]:
        """The model's chances for each row at all hours its rungs may be moved to; None without an opinion.

        A model that fails must not keep anybody from being planned: then none is given, and `trouble` says why.
        """
        if self.foresight is None or not asked:
            return [None] * len(asked)
        questions = [question(row, rungs) for row, rungs in asked]
        try:
            found = self.foresight.chances(questions)
            return [_by_moment(one, chances) for one, chances in zip(questions, found, strict=True)]
        except Exception as error:
            self.trouble.append(
                f"model {self.foresight.version} failed: {type(error).__name__}: {error}"[:500]
            )
            return [None] * len(asked)

    def placed(
        self, rungs: Sequence[Rung], chances: Mapping[datetime, float] | None, after: datetime | None = None
    ) -> Schedule:
        """The plan: each rung at its best hour, or where it is where the chances at its hours are not known."""
        if chances is None or not self.knows(rungs, chances):
            return Schedule(tuple(rung.at for rung in rungs), tuple(rungs), self.version)
        times = tuple(place(rungs, chances, after))
        seen = tuple(None if rung.fixed else chances[at] for rung, at in zip(rungs, times, strict=True))
        return Schedule(times, tuple(rungs), self.full_version, seen)

    @staticmethod
    def knows(rungs: Sequence[Rung], chances: Mapping[datetime, float] | None) -> bool:
        """Whether there is a chance for every hour that these rungs may be moved to."""
        return chances is not None and all(moment in chances for rung in rungs for moment in rung.hours())

    @property
    def full_version(self) -> str:
        """The version of plans that a model had a part in: the ladder's, and the model's."""
        return f"{self.version}+timing:{self.foresight.version}" if self.foresight else self.version


def earliest_retry(last_failed_at: datetime, now: datetime, wait_hours: float | None) -> datetime:
    """Before this moment a card that failed then is not tried: not at once, a day later, and after any wait."""
    earliest = max(now + timedelta(minutes=5), last_failed_at + timedelta(hours=24, minutes=30))
    return max(earliest, last_failed_at + timedelta(hours=wait_hours)) if wait_hours else earliest


def rung_at(moment: datetime, category: str, earliest: datetime) -> Rung:
    """A rung of the ladder. One that waits for a payday may be put off and is not brought forward."""
    on_payday = category == "insufficient_funds" and moment.day in PAYDAYS
    return Rung(moment, max(earliest, moment) if on_payday else earliest)


def _payday_near(moment: datetime) -> datetime:
    for ahead in range(4):
        day = moment + timedelta(days=ahead)
        if day.day in PAYDAYS:
            return day
    return moment


def _morning(moment: datetime, case_id: str) -> datetime:
    minute = int(hashlib.sha256(case_id.encode()).hexdigest()[:6], 16) % 180
    day = moment.astimezone(UTC).replace(hour=8, minute=0, second=0, microsecond=0)
    return day + timedelta(minutes=minute)


def _by_moment(asked: Question, chances: Sequence[float] | None) -> dict[datetime, float] | None:
    """Chances by moment; what is no chance is an error of the model's."""
    if chances is None:
        return None
    found = dict(zip(asked.moments, map(float, chances), strict=True))
    if not all(math.isfinite(chance) and 0.0 <= chance <= 1.0 for chance in found.values()):
        raise ValueError("it gives a chance that is not between 0 and 1")
    return found
