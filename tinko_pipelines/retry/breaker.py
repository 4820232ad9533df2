"""Stopping by itself when charging goes wrong in bulk: a refused key, an outage at Stripe, unusual declines.

It counts nothing of its own: every process that asks reads the same rows of the ledger.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, not_, or_, select, text

from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.control import GLOBAL, charging_allowed, pause_charging
from tinko_pipelines.ledger.schema import SESSION, attempt, case_event, control
from tinko_pipelines.ledger.store import Ledger

if TYPE_CHECKING:
    from tinko_pipelines.settings import Settings

ACTOR = "breaker"
FAULT_WINDOW = timedelta(minutes=10)
DECLINE_WINDOW = timedelta(hours=1)
BASE_WINDOW = timedelta(days=28)
MARGIN = 0.1
"""A share of declines less than this above the base is the weather, however many attempts make it certain."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is wrong; the settings `TINKO_BREAKER_…` say what each number is."""

    faults: int = 5
    fault_share: float = 0.2
    pause_minutes: float = 10.0
    declines: int = 20
    base: int = 100
    sigmas: float = 3.0

    @classmethod
    def from_settings(cls, settings: "Settings") -> "Limits":
        """The limits that the environment asks for."""
        return cls(
            faults=settings.breaker_faults,
            fault_share=settings.breaker_fault_share,
            pause_minutes=settings.breaker_pause_minutes,
            declines=settings.breaker_declines,
            base=settings.breaker_base,
            sigmas=settings.breaker_sigmas,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Attempts of one account: called lately, tried (executed and settled) lately, and tried in earlier weeks.

    Those that ended with a look at Stripe that could not be read count as called and as faults.
    """

    called: int = 0
    faults: int = 0
    tried: int = 0
    declined: int = 0
    base_tried: int = 0
    base_declined: int = 0


@dataclass(frozen=True, slots=True)
class Trip:
    """Why charging stops; `passes` means that it goes on by itself after a while."""

    kind: str
    reason: str
    passes: bool


def decide(counts: Counts, limits: Limits) -> Trip | None:
    """Whether these numbers are a reason to stop. Pure."""
    if counts.faults >= limits.faults and counts.faults > limits.fault_share * counts.called:
        reason = (
            f"Stripe gave no usable answer to {counts.faults} of {counts.called} charges, or to the looks before"
            f" them, in {FAULT_WINDOW.seconds // 60} minutes"
        )
        return Trip("stripe_faults", reason, passes=True)
    if counts.declined < limits.declines or counts.base_tried < limits.base:
        return None
    usual = (counts.base_declined + 1) / (counts.base_tried + 2)
    sigma = math.sqrt(usual * (1 - usual) * (1 / counts.tried + 1 / counts.base_tried))
    share = counts.declined / counts.tried
    if share - usual < MARGIN or share - usual <= limits.sigmas * sigma:
        return None
    reason = (
        f"{counts.declined} of {counts.tried} charges were declined within the hour, {share:.0%} where"
        f" {usual:.0%} of {counts.base_tried} is usual: cards being tested, or an error of ours"
    )
    return Trip("unusual_declines", reason, passes=False)


def judge(ledger: Ledger, account_id: str, now: datetime, limits: Limits) -> str | None:
    """Why charging for the account is stopped, by its latest attempts or already; None while it may go on.

    What was called before the last switch was judged then, so that a person's `resume` is not overruled.
    """
    with ledger.read() as connection:
        if not charging_allowed(connection, account_id, now):
            return "charging is paused"
        trip = decide(_count(connection, account_id, now, limits), limits)
    if trip is None:
        return None
    with ledger.write() as connection:
        resumes_at = now + timedelta(minutes=limits.pause_minutes) if trip.passes else None
        pause_charging(connection, account_id, trip.reason, ACTOR, now, resumes_at=resumes_at)
        if not trip.passes:
            anomalies.note(connection, account_id, trip.kind, account_id, now, detail=trip.reason)
    return trip.reason


def trip_on_refused_key(ledger: Ledger, account_id: str, at: datetime, detail: str | None) -> None:
    """Stripe has answered 401 or 403: stop charging for the account until a person resumes it."""
    reason = f"Stripe refuses the key: {detail or 'no reason given'}"
    with ledger.write() as connection:
        pause_charging(connection, account_id, reason, ACTOR, at)
        anomalies.note(connection, account_id, "key_refused", account_id, at, detail=reason[:500])


def _count(connection: Connection, account_id: str, now: datetime, limits: Limits) -> Counts:
    switched = connection.execute(
        select(func.max(control.c.changed_at)).where(control.c.scope.in_((GLOBAL, account_id)))
    ).scalar()
    # An answer that never came leaves no status, even when a later look settles the attempt; one that was
    # lost because our own process died is no fault of Stripe's.
    died = exists().where(
        case_event.c.case_id == attempt.c.case_id,
        case_event.c.attempt_id == attempt.c.id,
        case_event.c.kind == "attempt_unknown",
        case_event.c.detail == "lost",
    )
    silent = and_(attempt.c.http_status.is_(None), attempt.c.answer != "lost", not_(died))
    fault = or_(attempt.c.http_status >= 500, silent)
    ours = attempt.c.operation != SESSION
    answered = and_(attempt.c.state != "calling", attempt.c.answer != "restored", ours)
    since = _later(now - FAULT_WINDOW, switched)
    called, faults = _share(connection, account_id, fault, since, now, answered)
    unread = _unread(connection, account_id, since, now)
    called, faults = called + unread, faults + unread
    tried = and_(attempt.c.state.in_(("succeeded", "declined")), attempt.c.executed)
    declined = attempt.c.state == "declined"
    lately = now - DECLINE_WINDOW
    latest = _share(connection, account_id, declined, _later(lately, switched), now, tried)
    if latest[1] < limits.declines:
        return Counts(called, faults, *latest)
    return Counts(
        called,
        faults,
        *latest,
        *_share(connection, account_id, declined, now - BASE_WINDOW, lately, tried),
    )


def _unread(connection: Connection, account_id: str, after: datetime, until: datetime) -> int:
    """Attempts given up because Stripe could not be read before their call; spelled out as the index has it."""
    statement = select(func.count()).where(
        attempt.c.account_id == account_id,
        text("attempt.answer = 'unread'"),
        attempt.c.prepared_at > after,
        attempt.c.prepared_at <= until,
        attempt.c.called_at.is_(None),
    )
    return int(connection.execute(statement).scalar_one())


def _later(moment: datetime, switched: datetime | None) -> datetime:
    return moment if switched is None else max(moment, switched)


def _share(
    connection: Connection,
    account_id: str,
    counted: ColumnElement[bool],
    after: datetime,
    until: datetime,
    among: ColumnElement[bool],
) -> tuple[int, int]:
    statement = select(func.count(), func.coalesce(func.sum(case((counted, 1), else_=0)), 0)).where(
        attempt.c.account_id == account_id, attempt.c.called_at > after, attempt.c.called_at <= until, among
    )
    total, those = connection.execute(statement).one()
    return int(total), int(those)
