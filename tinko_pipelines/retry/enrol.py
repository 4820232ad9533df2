"""From failed payments with verdicts to cases with plans. Idempotent: the same table twice changes nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, IntegrityError

from tinko_pipelines.ledger import anomalies, cases, ids, limits, restored
from tinko_pipelines.ledger.schema import (
    BLOCKING,
    OPEN_CASE_STATES,
    SESSION,
    attempt,
    message,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import poison, replan
from tinko_pipelines.retry.gate import Gate, gate, settled_as
from tinko_pipelines.retry.opening import open_case
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.retry.replan import Chances, Plan

ACTOR = "enrol"
_CHUNK = 400
_OF_ONE_ROW = (ArithmeticError, DataError, IntegrityError, LookupError, TypeError, ValueError)
"""What a row brings about that is not as rows are; anything else is nobody's row."""


@dataclass(frozen=True, slots=True)
class EnrolResult:
    """How many cases were opened, replanned, closed or left as they were, and how many rows were skipped.

    `notices` says why the ladder planned alone although a timing model is promoted.
    """

    created: int = 0
    replanned: int = 0
    closed: int = 0
    unchanged: int = 0
    skipped: int = 0
    messages: int = 0
    notices: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: count for name, count in asdict(self).items() if name != "notices"}


def enrol(ledger: Ledger, failed: pa.Table, *, now: datetime, policy: Policy) -> EnrolResult:
    """Open a case per debt still owed, replan those that changed, close those settled meanwhile."""
    tally: Counter[str] = Counter()
    limits.synchronise(ledger, policy.limits)
    rows = failed.to_pylist()
    lost = {name: restored.forgiven_before(ledger, name) for name in {row["account_id"] for row in rows}}
    if len(rows) > policy.max_cases:
        rows = sorted(rows, key=lambda row: row["last_failed_at"], reverse=True)[: policy.max_cases]
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        try:
            tally += _enrol(ledger, chunk, now, policy, lost)
        except Exception as error:
            if not _is_of_one_row(error):
                raise
            tally += _one_by_one(ledger, chunk, now, policy, lost)
    return EnrolResult(**tally, notices=tuple(dict.fromkeys(policy.trouble)))


def _one_by_one(
    ledger: Ledger,
    rows: list[dict[str, Any]],
    now: datetime,
    policy: Policy,
    lost: Mapping[str, datetime | None],
) -> Counter[str]:
    """What is wrong with one row keeps only that row out."""
    tally: Counter[str] = Counter()
    for row in rows:
        try:
            tally += _enrol(ledger, [row], now, policy, lost)
        except Exception as error:
            if not _is_of_one_row(error):
                raise
            _set_aside(ledger, row, error, now)
            tally["skipped"] += 1
    return tally


def _is_of_one_row(error: Exception) -> bool:
    return isinstance(error, _OF_ONE_ROW) or poison.is_of_one_value(error)


def _enrol(
    ledger: Ledger,
    rows: list[dict[str, Any]],
    now: datetime,
    policy: Policy,
    lost: Mapping[str, datetime | None],
) -> Counter[str]:
    tally: Counter[str] = Counter()
    wanted = [ids.case_id(row["account_id"], row["debt_id"]) for row in rows]
    foreseen = replan.foreseen(ledger, wanted, rows, now, policy)
    with ledger.write() as connection:
        statement = select(recovery_case).where(recovery_case.c.id.in_(wanted)).order_by(recovery_case.c.id)
        if ledger.dialect == "postgresql":
            statement = statement.with_for_update()
        known = {row["id"]: dict(row) for row in connection.execute(statement).mappings()}
        for identity, row in zip(wanted, rows, strict=True):
            case = known.get(identity)
            if case is None:
                before = lost[row["account_id"]]
                chances = foreseen.get(identity)
                tally[open_case(connection, identity, row, now, policy, tally, before, chances, ACTOR)] += 1
            else:
                tally[_revise(connection, case, row, now, policy, foreseen.get(identity))] += 1
    return tally


def _set_aside(ledger: Ledger, row: dict[str, Any], error: Exception, now: datetime) -> None:
    """Leave a debt that cannot be planned to a person, so that the others go on."""
    lines = str(getattr(error, "orig", error)).strip().splitlines() or [""]
    with ledger.write() as connection:
        anomalies.note(
            connection,
            str(row["account_id"]),
            "debt_not_planned",
            str(row["debt_id"]),
            now,
            detail=f"{type(error).__name__}: {lines[0]}"[:500],
            proposal="see what Stripe shows of it; it is planned by itself once that can be read",
        )


def _revise(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    now: datetime,
    policy: Policy,
    chances: Chances | None,
) -> str:
    if case["state"] not in (*OPEN_CASE_STATES, "needs_human"):
        return "unchanged"
    blocking = (attempt.c.case_id == case["id"], attempt.c.state.in_(BLOCKING))
    blocked = connection.execute(
        select(attempt.c.id, attempt.c.operation, attempt.c.state).where(*blocking)
    ).first()
    if blocked:
        open_page = (blocked.operation, blocked.state) == (SESSION, "requires_action")
        return _end_page(connection, case, row, blocked.id, now) if open_page else "unchanged"
    settled = settled_as(row)
    if settled and not _is_of_predecessor(case, row, settled[1]):
        cases.close(connection, case, settled[0], settled[1], now, ACTOR)
        return "closed"
    if case["state"] == "needs_human":
        return "unchanged"
    passed = gate(row, policy)
    if passed.close_as is not None:
        cases.close(connection, case, passed.close_as, passed.reason or "", now, ACTOR)
        return "closed"
    if passed.move == "wait_stripe":
        return _leave_to_stripe(connection, case, row, now, policy)
    if not passed.retry:
        return _leave_to_customer(connection, case, row, passed, now, policy)
    if replan.has_new_card(case, row) or case["move"] == "wait_stripe":
        return _replan(connection, case, row, now, policy, chances)
    replanned = replan.place_anew(connection, case, row, now, policy, chances, ACTOR)
    return "replanned" if replanned else "unchanged"


def _end_page(
    connection: Connection, case: dict[str, Any], row: dict[str, Any], page: str, now: datetime
) -> str:
    """Have a page looked at now whose debt is settled; where that was not done on it, its case and with that it ends."""
    settled = settled_as(row)
    if settled is None or _is_of_predecessor(case, row, settled[1]):
        return "unchanged"
    connection.execute(attempt.update().where(attempt.c.id == page).values(next_poll_at=now))
    if row["status"] != "open":
        return "unchanged"
    cases.close(connection, case, settled[0], settled[1], now, ACTOR)
    return "closed"


def _is_of_predecessor(case: dict[str, Any], row: dict[str, Any], reason: str) -> bool:
    """Whether what is cancelled is only an intent that has given way to another one for the same debt."""
    return reason == "debt is canceled" and row["payment_intent_id"] != case["live_object_id"]


def _leave_to_stripe(
    connection: Connection, case: dict[str, Any], row: dict[str, Any], now: datetime, policy: Policy
) -> str:
    """Keep the case open until Stripe has ended its own retries, so that it can be ours afterwards."""
    until = row["next_payment_attempt_at"] + timedelta(days=policy.tail_days)
    ends_at = max(case["plan_ends_at"], until)
    if case["move"] == "wait_stripe" and ends_at == case["plan_ends_at"]:
        return "unchanged"
    cases.change(connection, case, now, move="wait_stripe", plan_ends_at=ends_at, due_at=ends_at)
    cases.record(connection, case, now, ACTOR, "replanned", detail="Stripe retries this invoice itself")
    return "replanned"


def _leave_to_customer(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    passed: Gate,
    now: datetime,
    policy: Policy,
) -> str:
    """Give up the retries of a case whose card may no longer be tried, and let its mails say so."""
    if case["move"] == passed.move and case["max_attempts"] <= case["executed_attempts"]:
        return "unchanged"
    cases.change(
        connection,
        case,
        now,
        move=passed.move,
        max_attempts=case["executed_attempts"],
        due_at=case["plan_ends_at"],
        **_other_mails(connection, case, row, passed.move, policy),
    )
    cases.record(connection, case, now, ACTOR, "replanned", detail=passed.reason)
    return "replanned"


def _other_mails(
    connection: Connection, case: dict[str, Any], row: dict[str, Any], move: str, policy: Policy
) -> dict[str, str]:
    """Give the mails still ahead the templates of the sequence that fits now; they keep their moments."""
    sequence = policy.sequences.of(row, move)
    if sequence is None:
        return {}
    ahead = select(message.c.id, message.c.step).where(
        message.c.case_id == case["id"], message.c.state == "scheduled", message.c.kind == "dunning"
    )
    plan, steps = Plan.of(case["plan"]), sequence.steps
    for identity, step in connection.execute(ahead).tuples().all():
        place = len(steps) if step >= len(plan.messages) else min(step, len(steps))
        values = {"template": steps[place - 1].template}
        connection.execute(message.update().where(message.c.id == identity).values(**values))
    return {"plan": replace(plan, sequence=f"{sequence.name}@{policy.sequences.version}").text()}


def _replan(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    now: datetime,
    policy: Policy,
    chances: Chances | None,
) -> str:
    new_card = replan.has_new_card(case, row)
    schedule = policy.placed(replan.fresh_rungs(case["id"], row, now, policy, new_card=new_card), chances)
    before = Plan.of(case["plan"])
    ends_at = max(schedule.last + timedelta(days=policy.tail_days), case["plan_ends_at"])
    cases.change(
        connection,
        case,
        now,
        payment_method_id=row.get("payment_method_id"),
        payment_method_type=row.get("payment_method_type"),
        card_fingerprint=row.get("card_fingerprint") or row.get("payment_method_id"),
        card_brand=row.get("card_brand"),
        card_country=row.get("card_country"),
        move="retry" if case["move"] == "wait_stripe" else case["move"],
        plan=Plan.new(schedule, before.messages, before.sequence).text(),
        plan_ends_at=ends_at,
        due_at=schedule.times[0],
        max_attempts=min(20, case["executed_attempts"] + len(schedule.times)),
        policy_version=schedule.version,
    )
    reason = "another card is on file" if new_card else "Stripe has stopped retrying"
    cases.record(connection, case, now, ACTOR, "replanned", detail=reason)
    return "replanned"
