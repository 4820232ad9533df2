"""From failed payments with verdicts to cases with plans. Idempotent: the same table twice changes nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, IntegrityError

from tinko_pipelines.declines.records import MOVES
from tinko_pipelines.ledger import anomalies, cases, ids, limits, restored
from tinko_pipelines.ledger.schema import (
    BLOCKING,
    OPEN_CASE_STATES,
    attempt,
    message,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import poison, replan
from tinko_pipelines.retry.gate import Gate, gate, settled_as, too_old
from tinko_pipelines.retry.policy import Policy, template_for
from tinko_pipelines.retry.replan import Chances, Plan

ACTOR = "enrol"
_CHUNK = 400
_OF_ONE_ROW = (ArithmeticError, DataError, IntegrityError, LookupError, TypeError, ValueError)
"""What a row brings about that is not as rows are; anything else is nobody's row."""
_COPIED = (
    "account_id livemode debt_kind debt_id invoice_id payment_intent_id first_charge_id subscription_id"
    " customer_id payment_method_id payment_method_type card_brand card_country amount_minor currency"
    " category first_failed_at"
).split()


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
                tally[_open(connection, identity, row, now, policy, tally, before, chances)] += 1
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


def _open(
    connection: Connection,
    identity: str,
    row: dict[str, Any],
    now: datetime,
    policy: Policy,
    tally: Counter[str],
    lost_before: datetime | None,
    chances: Chances | None,
) -> str:
    if settled_as(row) or too_old(row, now, policy) or row["amount_minor"] <= 0:
        return "skipped"
    passed = gate(row, policy)
    schedule = (
        policy.placed(replan.fresh_rungs(identity, row, now, policy), chances) if passed.retry else None
    )
    times = schedule.times if schedule else ()
    mails = [] if passed.close_as else policy.message_times(passed.move, row["first_failed_at"], now)
    stripe_until = [row["next_payment_attempt_at"]] if passed.move == "wait_stripe" else []
    ends_at = max([*times, *mails, *stripe_until, now]) + timedelta(days=policy.tail_days)
    plan, version = Plan.new(schedule, mails), schedule.version if schedule else policy.version
    case = _case_row(identity, row, passed, plan, ends_at, now, version)
    connection.execute(recovery_case.insert().values(**case))
    cases.record(
        connection,
        {**case, "state": None},
        now,
        ACTOR,
        "opened",
        to_state=case["state"],
        detail=passed.reason,
    )
    template = template_for(passed.move, str(row["category"]))
    sent = _maybe_sent(row["first_failed_at"], lost_before, policy)
    ahead = [
        _message_row(case, step, template, due) for step, due in enumerate(mails, start=1) if step > sent
    ]
    if ahead:
        connection.execute(message.insert(), ahead)
    tally["messages"] += len(ahead)
    return "created"


def _maybe_sent(failed_at: datetime, lost_before: datetime | None, policy: Policy) -> int:
    """How many steps a ledger that was lost at that moment may have sent, had it opened the case at its failure.

    Whose move it was then nobody knows any more, so it is the most that any move would have had sent.
    """
    if lost_before is None:
        return 0
    ladders = (policy.message_times(move, failed_at, failed_at) for move in MOVES)
    return max(sum(due <= lost_before for due in ladder) for ladder in ladders)


def _case_row(
    identity: str,
    row: dict[str, Any],
    passed: Gate,
    plan: Plan,
    ends_at: datetime,
    now: datetime,
    policy_version: str,
) -> dict[str, Any]:
    live = row["debt_id"] if row["debt_kind"] != "payment_intent" else row["payment_intent_id"]
    final = passed.close_as is not None
    return {
        **{name: row.get(name) for name in _COPIED},
        "id": identity,
        "live_object_id": live or row["debt_id"],
        "card_fingerprint": row.get("card_fingerprint") or row.get("payment_method_id"),
        "state": passed.close_as or "open",
        "state_reason": passed.reason,
        "move": passed.move,
        "verdict_rule": row.get("rule"),
        "verdict_reason": row.get("reason"),
        "verdict_source": row.get("source"),
        "verdict_confidence": row.get("confidence"),
        "decline_code": row.get("code"),
        "policy_version": policy_version,
        "plan": plan.text(),
        "plan_ends_at": ends_at,
        "due_at": None if final else (plan.times[0] if plan.times else ends_at),
        "max_attempts": len(plan.times),
        "executed_attempts": 0,
        "locale": row.get("preferred_locale"),
        "version": 1,
        "created_at": now,
        "updated_at": now,
        "closed_at": now if final and passed.close_as != "needs_human" else None,
    }


def _message_row(case: dict[str, Any], step: int, template: str, due: datetime) -> dict[str, Any]:
    identity = ids.message_id(case["id"], step)
    return {
        "id": identity,
        "case_id": case["id"],
        "account_id": case["account_id"],
        "livemode": case["livemode"],
        "step": step,
        "kind": "dunning",
        "template": template,
        "locale": case["locale"],
        "state": "scheduled",
        "due_at": due,
    }


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
    blocked = connection.execute(
        select(attempt.c.id).where(attempt.c.case_id == case["id"], attempt.c.state.in_(BLOCKING))
    ).first()
    if blocked:
        return "unchanged"
    settled = settled_as(row)
    if settled:
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
        return _leave_to_customer(connection, case, row, passed, now)
    if replan.has_new_card(case, row) or case["move"] == "wait_stripe":
        return _replan(connection, case, row, now, policy, chances)
    replanned = replan.place_anew(connection, case, row, now, policy, chances, ACTOR)
    return "replanned" if replanned else "unchanged"


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
    connection: Connection, case: dict[str, Any], row: dict[str, Any], passed: Gate, now: datetime
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
    )
    connection.execute(
        message.update()
        .where(message.c.case_id == case["id"], message.c.state == "scheduled")
        .values(template=template_for(passed.move, str(row["category"])))
    )
    cases.record(connection, case, now, ACTOR, "replanned", detail=passed.reason)
    return "replanned"


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
    mails = Plan.of(case["plan"]).messages
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
        plan=Plan.new(schedule, mails).text(),
        plan_ends_at=ends_at,
        due_at=schedule.times[0],
        max_attempts=min(20, case["executed_attempts"] + len(schedule.times)),
        policy_version=schedule.version,
    )
    reason = "another card is on file" if new_card else "Stripe has stopped retrying"
    cases.record(connection, case, now, ACTOR, "replanned", detail=reason)
    return "replanned"
