"""One retry from beginning to end. The only place that begins a charge.

Three short transactions (prepare, begin the call, settle) with HTTP strictly between them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import attempts, caps, cases
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.mirror import note_seen
from tinko_pipelines.ledger.schema import BLOCKING, attempt, one_of
from tinko_pipelines.ledger.store import Ledger, collided, repeated
from tinko_pipelines.retry import breaker, janitor, poison
from tinko_pipelines.retry.answers import Outcome, interpret
from tinko_pipelines.retry.preflight import LOOK_LASTS, Clearance, preflight
from tinko_pipelines.retry.settle import load_case, settle

ACTOR = "drain"
Boundary = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What all retries of one drain share; `deadline` is on the monotonic clock."""

    ledger: Ledger
    gateway: Gateway
    clock: Clock
    owner: str
    lease_seconds: float
    boundary: Boundary
    deadline: float


def retry(run: Run, case_id: str) -> str:
    """Retry one case that is due; the state it ended in.

    Raises GatewayError when Stripe refuses the key. Whatever else goes wrong with it is noted, and it waits: for the
    next drain, and an attempt that was begun for its lease to lapse, where only another process was in the way.
    """
    try:
        return _retry(run, case_id)
    except Exception as error:
        if collided(error):
            return "skipped"
        if poison.is_everybodys(error):
            raise
        failure = error
    repeated(lambda: poison.case_failed(run.ledger, case_id, failure, run.clock.now(), ACTOR))
    return "failed"


def _retry(run: Run, case_id: str) -> str:
    now = run.clock.now()
    run.boundary("before_prepare")
    case, row, verdict = repeated(lambda: _prepare(run, case_id, now))
    if row is None:
        return verdict
    run.boundary("after_prepare")
    run.boundary("before_preflight")
    looked_at = run.clock.now()
    clearance = preflight(run.gateway, case)
    run.boundary("after_preflight")
    if not clearance.go:
        outcome = Outcome(
            "abandoned", clearance.answer, detail=clearance.reason, wait_hours=clearance.wait_hours
        )
        close_as, paid_twice = clearance.close_as, clearance.paid_twice
        repeated(
            lambda: settle(run.ledger, row, outcome, now, ACTOR, close_as=close_as, paid_twice=paid_twice)
        )
        if clearance.key_refused:
            breaker.trip_on_refused_key(run.ledger, row["account_id"], now, clearance.reason)
            raise GatewayError(f"Stripe refuses the key: {clearance.reason}; check STRIPE_SECRET_KEY")
        return "closed" if clearance.close_as else "abandoned"
    _tag(run, case, row)
    run.boundary("before_begin_call")
    called = _begin_call(run, case, row, looked_at, clearance)
    if isinstance(called, str):
        return called
    run.boundary("after_begin_call")
    return _call(run, called)


def _prepare(run: Run, case_id: str, now: datetime) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    try:
        return _prepared(run, case_id, now)
    except IntegrityError:
        # Another worker prepared this case first, or took the card's last free attempt: a second look shows which.
        return _prepared(run, case_id, now)


def _prepared(run: Run, case_id: str, now: datetime) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    with run.ledger.write() as connection:
        case = load_case(run.ledger, connection, case_id)
        if case["state"] != "open" or case["due_at"] is None or case["due_at"] > now:
            return case, None, "skipped"
        blocking = text(one_of("attempt.state", BLOCKING))
        busy = select(attempt.c.id).where(attempt.c.case_id == case_id, blocking)
        if connection.execute(busy).first():
            # Another drain is at it; its own attempt must neither count against it nor change its case.
            return case, None, "skipped"
        if now >= case["plan_ends_at"]:
            cases.close(connection, case, "exhausted", "the plan is over", now, ACTOR)
            return case, None, "exhausted"
        if case["executed_attempts"] >= case["max_attempts"]:
            cases.change(connection, case, now, due_at=case["plan_ends_at"])
            return case, None, "skipped"
        refusal = caps.reached(connection, case, now)
        if refusal is not None:
            caps.record_refusal(connection, case, refusal, now)
            return case, None, "refused"
        row = attempts.prepare(
            run.ledger,
            connection,
            case,
            _parameters(case),
            api_version=run.gateway.api_version,
            owner=run.owner,
            at=now,
            lease_seconds=run.lease_seconds,
        )
        return case, row, "prepared"


def _parameters(case: dict[str, Any]) -> dict[str, Any]:
    if case["debt_kind"] == "invoice":
        # Named, so that the card charged is the one whose caps were counted; sources of old have no place here.
        card = case["payment_method_id"] or ""
        return {"off_session": True} | ({"payment_method": card} if card.startswith("pm_") else {})
    return {
        "payment_method": case["payment_method_id"],
        "off_session": True,
        "error_on_requires_action": True,
    }


def _tag(run: Run, case: dict[str, Any], row: dict[str, Any]) -> None:
    """Write our ids on the intent, so that its charge names its attempt; not being able to is no obstacle."""
    if row["operation"] != "payment_intent.confirm":
        return
    run.gateway.post(
        f"/v1/payment_intents/{row['object_id']}",
        {"metadata": {"tinko_attempt": row["id"], "tinko_case": case["id"]}},
        f"{row['idempotency_key']}:meta",
        row["api_version"],
    )


def _begin_call(
    run: Run, case: dict[str, Any], row: dict[str, Any], looked_at: datetime, clearance: Clearance
) -> dict[str, Any] | str:
    """Commit to the call: from here on the attempt may have run. Gives it up when anything has changed.

    The row as it is called with, or the state the retry ended in.
    """
    now = run.clock.now()
    try:
        called = repeated(lambda: _commit(run, case, row, clearance, now, late=now - looked_at > LOOK_LASTS))
    except IntegrityError:
        # The database refuses what the code would have done: it has seen a pause or a limit in between.
        called = repeated(lambda: _why_refused(run, case, row, now))
    if called is None:
        return "skipped"
    if not isinstance(called, str):
        return called
    given_up = Outcome("abandoned", called)
    repeated(lambda: settle(run.ledger, row, given_up, now, ACTOR))
    return "refused" if called == "cap" else "skipped"


def _commit(
    run: Run, case: dict[str, Any], row: dict[str, Any], clearance: Clearance, now: datetime, *, late: bool
) -> dict[str, Any] | str | None:
    """The row as it is called with, or what has come up against the call; None when the attempt is not ours any more."""
    with run.ledger.write() as connection:
        current = load_case(run.ledger, connection, case["id"])
        note_seen(run.ledger, connection, row["account_id"], clearance.charges)
        present = run.ledger.database_now(connection)
        if late or attempts.held_up(present, row, run.lease_seconds):
            return "held_up"
        answer = _obstacle(run, connection, case, row, current, now)
        if answer is not None:
            return answer
        lease_until = present + timedelta(seconds=run.lease_seconds)
        begun = {"state": "calling", "called_at": now, "lease_until": lease_until}
        return row | begun if attempts.update(connection, row, **begun) else None


def _why_refused(run: Run, case: dict[str, Any], row: dict[str, Any], now: datetime) -> str:
    with run.ledger.write() as connection:
        current = load_case(run.ledger, connection, case["id"])
        return _obstacle(run, connection, case, row, current, now) or "refused_by_ledger"


def _obstacle(
    run: Run,
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    current: dict[str, Any],
    now: datetime,
) -> str | None:
    """What has come up against the call since it was prepared; a limit's refusal is stored at once."""
    if not charging_allowed(connection, row["account_id"], now):
        return "paused"
    if current["state"] != "open" or current["version"] != case["version"]:
        return "case_changed"
    refusal = caps.reached(connection, current | row, now, besides=row["id"])
    if refusal is None:
        return None
    caps.record_refusal(connection, current, refusal, now)
    return "cap"


def _call(run: Run, row: dict[str, Any]) -> str:
    run.boundary("before_http")
    with run.ledger.glance() as connection:
        if attempts.held_up(run.ledger.database_now(connection), row, run.lease_seconds):
            return "skipped"  # Whoever looks at it next asks again whether it may be made.
    answer = run.gateway.post(
        janitor.operation_path(row),
        janitor.frozen_parameters(row),
        row["idempotency_key"],
        row["api_version"],
    )
    run.boundary("after_http")
    outcome, now = interpret(answer), run.clock.now()
    run.boundary("before_settle")
    kept = repeated(lambda: settle(run.ledger, row, outcome, now, ACTOR))
    run.boundary("after_settle")
    if outcome.answer == "key_refused":
        breaker.trip_on_refused_key(run.ledger, row["account_id"], now, outcome.detail)
        raise GatewayError(
            f"Stripe refuses the key: {outcome.detail}; check STRIPE_SECRET_KEY and its rights"
        )
    return outcome.state if kept else "skipped"
