"""Doing all that is due: webhook inbox, unsettled attempts, retries. The only place that charges.

One retry is three short transactions (prepare, begin the call, settle) with HTTP strictly between them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import attempts, cases
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.mirror import note_seen
from tinko_pipelines.ledger.schema import BLOCKING, attempt, cap_refusal, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import inbox, janitor
from tinko_pipelines.retry.answers import Outcome, interpret
from tinko_pipelines.retry.preflight import Clearance, preflight
from tinko_pipelines.retry.settle import load_case, settle

ACTOR = "drain"
LEASE_SECONDS = 180.0
"""Longer than every call of one attempt at its time-out."""
_BATCH = 400
_MOST_ROUNDS = 1000
Boundary = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrainResult:
    """What one drain did; `due` is what a dry run would have begun."""

    called: int = 0
    succeeded: int = 0
    declined: int = 0
    processing: int = 0
    requires_action: int = 0
    unknown: int = 0
    abandoned: int = 0
    refused: int = 0
    exhausted: int = 0
    closed: int = 0
    skipped: int = 0
    settled: int = 0
    looked: int = 0
    due: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Run:
    ledger: Ledger
    gateway: Gateway
    clock: Clock
    owner: str
    lease_seconds: float
    boundary: Boundary
    deadline: float


def drain(
    ledger: Ledger,
    gateway: Gateway,
    clock: Clock,
    *,
    workers: int,
    max_seconds: float,
    owner: str,
    dry_run: bool,
    boundary: Boundary | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> DrainResult:
    """Work until nothing is due or `max_seconds` are over; safe to start twice, and to kill at any point."""
    tally: Counter[str] = Counter()
    now = clock.now()
    if dry_run:
        return DrainResult(due=len(_due_cases(ledger, gateway, now)))
    run = _Run(
        ledger,
        gateway,
        clock,
        owner,
        lease_seconds,
        boundary or (lambda _name: None),
        time.monotonic() + max_seconds,
    )
    inbox.mark(ledger, now)
    tally["looked"] += inbox.look_at_marked(ledger, gateway, now)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="drain") as pool:
        tried: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            unsettled = janitor.waiting(ledger, now, gateway.account_id, gateway.livemode)
            pending = [name for name in unsettled if name not in tried]
            tried.update(pending)
            settled = _spread(pool, workers, run, [partial(_tidy, run, name) for name in pending])
            uncounted = ("skipped", "called")
            tally["settled"] += sum(count for state, count in settled.items() if state not in uncounted)
            turns = _in_turns(
                (name, who) for name, who in _due_cases(ledger, gateway, now) if name not in tried
            )
            ready = [name for names in turns for name in names]
            tried.update(ready)
            tally.update(_spread(pool, workers, run, [partial(_retry_each, run, names) for names in turns]))
            if not (pending or ready) or time.monotonic() > run.deadline:
                break
    return DrainResult(**tally)


def _spread(
    pool: ThreadPoolExecutor, workers: int, run: _Run, jobs: Iterable[Callable[[], list[str]]]
) -> Counter[str]:
    tally: Counter[str] = Counter()
    flying: set[Future[list[str]]] = set()
    for job in jobs:
        if time.monotonic() > run.deadline:
            break
        flying.add(pool.submit(job))
        if len(flying) >= workers * 2:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            tally.update(state for future in done for state in future.result())
    tally.update(state for future in flying for state in future.result())
    called = {"succeeded", "declined", "processing", "requires_action", "unknown"}
    tally["called"] += sum(count for state, count in tally.items() if state in called)
    return tally


def _in_turns(cases_due: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Cases of one customer one after the other, since they share cards and caps; who is first is no accident then."""
    turns: dict[str, list[str]] = {}
    for name, who in cases_due:
        turns.setdefault(who, []).append(name)
    return list(turns.values())


def _due_cases(ledger: Ledger, gateway: Gateway, now: datetime) -> list[tuple[str, str]]:
    blocked = select(attempt.c.case_id).where(attempt.c.state.in_(BLOCKING))
    with ledger.read() as connection:
        if not charging_allowed(connection, gateway.account_id, now):
            return []
        found = connection.execute(
            select(recovery_case.c.id, recovery_case.c.customer_id, recovery_case.c.card_fingerprint)
            .where(
                recovery_case.c.state == "open",
                recovery_case.c.due_at <= now,
                recovery_case.c.account_id == gateway.account_id,
                recovery_case.c.livemode == gateway.livemode,
                recovery_case.c.id.not_in(blocked),
            )
            .order_by(recovery_case.c.due_at, recovery_case.c.id)
            .limit(_BATCH)
        ).all()
    return [(row.id, row.customer_id or row.card_fingerprint or row.id) for row in found]


def _tidy(run: _Run, attempt_id: str) -> list[str]:
    state = janitor.resolve(
        run.ledger, run.gateway, attempt_id, run.clock.now(), run.owner, run.lease_seconds, run.boundary
    )
    return [state]


def _retry_each(run: _Run, names: list[str]) -> list[str]:
    """The states these cases' retries ended in; what there is no more time for stays due."""
    states = []
    for name in names:
        if time.monotonic() > run.deadline:
            break
        states.append(_retry(run, name))
    return states


def _retry(run: _Run, case_id: str) -> str:
    """One retry from beginning to end; the state it ended in."""
    now = run.clock.now()
    run.boundary("before_prepare")
    case, row, verdict = _prepare(run, case_id, now)
    if row is None:
        return verdict
    run.boundary("after_prepare")
    run.boundary("before_preflight")
    clearance = preflight(run.gateway, case)
    run.boundary("after_preflight")
    if not clearance.go:
        answer = "key_refused" if clearance.key_refused else "preflight"
        outcome = Outcome("abandoned", answer, detail=clearance.reason)
        settle(run.ledger, row, outcome, now, ACTOR, close_as=clearance.close_as)
        if clearance.key_refused:
            raise GatewayError(f"Stripe refuses the key: {clearance.reason}; check STRIPE_SECRET_KEY")
        return "closed" if clearance.close_as else "abandoned"
    _tag(run, case, row)
    run.boundary("before_begin_call")
    called = _begin_call(run, case, row, now, clearance)
    if called is None:
        return "skipped"
    run.boundary("after_begin_call")
    return _call(run, called, now)


def _prepare(run: _Run, case_id: str, now: datetime) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    try:
        with run.ledger.write() as connection:
            case = load_case(run.ledger, connection, case_id)
            if case["state"] != "open" or case["due_at"] is None or case["due_at"] > now:
                return case, None, "skipped"
            busy = select(attempt.c.id).where(attempt.c.case_id == case_id, attempt.c.state.in_(BLOCKING))
            if connection.execute(busy).first():
                # Another drain is at it; its own attempt must neither count against it nor change its case.
                return case, None, "skipped"
            if now >= case["plan_ends_at"]:
                cases.close(connection, case, "exhausted", "the plan is over", now, ACTOR)
                return case, None, "exhausted"
            if case["executed_attempts"] >= case["max_attempts"]:
                cases.change(connection, case, now, due_at=case["plan_ends_at"])
                return case, None, "skipped"
            attempts.lock_card(run.ledger, connection, case["card_fingerprint"])
            reached = attempts.cap_reached(connection, case, now)
            if reached is not None:
                rule, subject, free_at = reached
                connection.execute(
                    cap_refusal.insert().values(
                        case_id=case_id,
                        account_id=case["account_id"],
                        rule=rule,
                        subject=subject,
                        at=now,
                        free_at=free_at,
                    )
                )
                cases.change(connection, case, now, due_at=min(free_at, case["plan_ends_at"]))
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
    except IntegrityError:
        # Another worker prepared this case first, or took the card's last free attempt.
        return {}, None, "skipped"


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


def _tag(run: _Run, case: dict[str, Any], row: dict[str, Any]) -> None:
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
    run: _Run, case: dict[str, Any], row: dict[str, Any], now: datetime, clearance: Clearance
) -> dict[str, Any] | None:
    """Commit to the call: from here on the attempt may have run. Gives it up when anything has changed."""
    with run.ledger.write() as connection:
        current = load_case(run.ledger, connection, case["id"])
        attempts.lock_card(run.ledger, connection, row["card_fingerprint"])
        note_seen(run.ledger, connection, row["account_id"], clearance.charges)
        if not charging_allowed(connection, row["account_id"], now):
            answer = "paused"
        elif current["state"] != "open" or current["version"] != case["version"]:
            answer = "case_changed"
        elif attempts.cap_reached(connection, case, now, besides=row["id"]) is not None:
            answer = "cap"
        else:
            lease = run.ledger.database_now(connection) + timedelta(seconds=run.lease_seconds)
            if not attempts.update(connection, row, state="calling", called_at=now, lease_until=lease):
                return None
            stored = connection.execute(select(attempt).where(attempt.c.id == row["id"])).mappings().one()
            return dict(stored)
    settle(run.ledger, row, Outcome("abandoned", answer), now, ACTOR)
    return None


def _call(run: _Run, row: dict[str, Any], now: datetime) -> str:
    run.boundary("before_http")
    answer = run.gateway.post(
        janitor.operation_path(row),
        janitor.frozen_parameters(row),
        row["idempotency_key"],
        row["api_version"],
    )
    run.boundary("after_http")
    outcome = interpret(answer)
    run.boundary("before_settle")
    kept = settle(run.ledger, row, outcome, now, ACTOR)
    run.boundary("after_settle")
    if outcome.answer == "key_refused":
        raise GatewayError(
            f"Stripe refuses the key: {outcome.detail}; check STRIPE_SECRET_KEY and its rights"
        )
    return outcome.state if kept else "skipped"
