"""When a debt is retried and its customer written to: a plain ladder per category. Caps and gates come after."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tinko_pipelines.ledger.limits import Limits

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
CUSTOMER_STEPS_DAYS = (0.0, 3.0, 7.0)
SILENT_STEPS_DAYS = (3.0, 8.0)
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

    @classmethod
    def from_settings(cls, settings: "Settings") -> "Policy":
        """The policy that the environment asks for."""
        return cls(
            max_age_days=settings.enrol_max_age_days,
            billing_mode=settings.billing_mode,
            limits=Limits.from_settings(settings),
            max_cases=settings.max_cases_per_plan,
        )

    def retry_times(
        self, case_id: str, category: str, last_failed_at: datetime, now: datetime, wait_hours: float | None
    ) -> list[datetime]:
        """The moments of the retries, ascending, all in the future and a day or more after the failure."""
        base = max(last_failed_at, now - timedelta(hours=20))
        earliest = max(now + timedelta(minutes=5), last_failed_at + timedelta(hours=24, minutes=30))
        if wait_hours:
            earliest = max(earliest, last_failed_at + timedelta(hours=wait_hours))
        times: list[datetime] = []
        for days in LADDER_DAYS.get(category, DEFAULT_LADDER_DAYS):
            moment = base + timedelta(days=days)
            if category == "insufficient_funds":
                moment = _payday_near(moment)
            moment = _morning(moment, case_id)
            if moment >= earliest and (not times or moment - times[-1] >= timedelta(hours=25)):
                times.append(moment)
        return times or [_morning(earliest + timedelta(days=1), case_id)]

    def message_times(self, move: str, first_failed_at: datetime, now: datetime) -> list[datetime]:
        """When the customer is written to: at once where only he can help, late where we retry silently."""
        if move in ("customer", "both", "wait_stripe"):
            return [now + timedelta(days=days) for days in CUSTOMER_STEPS_DAYS]
        if move == "retry":
            start = max(first_failed_at, now - timedelta(days=2))
            return [start + timedelta(days=days) for days in SILENT_STEPS_DAYS]
        return []


def template_for(move: str, category: str) -> str:
    """The mail that fits the case."""
    if category == "authentication_required":
        return "authenticate"
    return "update_card" if move == "customer" else "payment_failed_retrying"


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
