"""The case of a debt that has none yet: its row, its plan and the mails ahead of it."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tinko_pipelines.ledger import cases, ids
from tinko_pipelines.ledger.schema import message, recovery_case
from tinko_pipelines.retry import replan
from tinko_pipelines.retry.gate import Gate, gate, settled_as, too_old
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.retry.replan import Chances, Plan

_COPIED = (
    "account_id livemode debt_kind debt_id invoice_id payment_intent_id first_charge_id subscription_id"
    " customer_id payment_method_id payment_method_type card_brand card_country amount_minor currency"
    " category first_failed_at"
).split()


def open_case(
    connection: Connection,
    identity: str,
    row: dict[str, Any],
    now: datetime,
    policy: Policy,
    tally: Counter[str],
    lost_before: datetime | None,
    chances: Chances | None,
    actor: str,
) -> str:
    """Open the case of a debt with its plan and its mails, counted into `tally`; what became of the row.

    A ledger that was lost at `lost_before` may have sent the first of them.
    """
    if settled_as(row) or too_old(row, now, policy) or row["amount_minor"] <= 0:
        return "skipped"
    passed = gate(row, policy)
    schedule = (
        policy.placed(replan.fresh_rungs(identity, row, now, policy), chances) if passed.retry else None
    )
    times = schedule.times if schedule else ()
    sequence = None if passed.close_as else policy.sequences.of(row, passed.move)
    mails = sequence.times(row["first_failed_at"], now) if sequence else []
    stripe_until = [row["next_payment_attempt_at"]] if passed.move == "wait_stripe" else []
    ends_at = max([*times, *mails, *stripe_until, now]) + timedelta(days=policy.tail_days)
    named = f"{sequence.name}@{policy.sequences.version}" if sequence else None
    plan, version = Plan.new(schedule, mails, named), schedule.version if schedule else policy.version
    case = _case_row(identity, row, passed, plan, ends_at, now, version)
    connection.execute(recovery_case.insert().values(**case))
    cases.record(
        connection,
        {**case, "state": None},
        now,
        actor,
        "opened",
        to_state=case["state"],
        detail=passed.reason,
    )
    # Whose move it was when the lost ledger sent nobody knows, so it is the most that any sequence would have had sent.
    sent = policy.sequences.most_due(row["first_failed_at"], lost_before) if lost_before else 0
    steps = sequence.steps if sequence else ()
    ahead = [
        _message_row(case, number, step.template, due)
        for number, (step, due) in enumerate(zip(steps, mails, strict=True), start=1)
        if number > sent
    ]
    if ahead:
        connection.execute(message.insert(), ahead)
    tally["messages"] += len(ahead)
    return "created"


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
