"""Settling attempts whose outcome is open, by GET of stored ids; and freeing those a crash left behind."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select

from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import attempts, cases
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome, from_charge, interpret
from tinko_pipelines.retry.preflight import View, look, preflight
from tinko_pipelines.retry.settle import load_case, settle

ACTOR = "janitor"
REPOST_HOURS = 20
"""Stripe may forget a key after 24 h; from here on we only read."""
ACTION_DEADLINE_HOURS = 72
_OPERATIONS = {
    "invoice.pay": "/v1/invoices/{}/pay",
    "payment_intent.confirm": "/v1/payment_intents/{}/confirm",
}


def operation_path(row: dict[str, Any]) -> str:
    """The address an attempt is posted to."""
    return _OPERATIONS[row["operation"]].format(row["object_id"])


def frozen_parameters(row: dict[str, Any]) -> dict[str, Any]:
    """What an attempt sends, read back from its row and held against its hash."""
    if hashlib.sha256(row["params"].encode()).hexdigest() != row["params_sha256"]:
        raise StoreError(f"attempt {row['id']}: its stored parameters do not match their hash; do not charge")
    parameters: dict[str, Any] = json.loads(row["params"])
    return parameters


def waiting(
    ledger: Ledger, now: datetime, account_id: str, livemode: bool | None, limit: int = 500
) -> list[str]:
    """Ids of the account's attempts to look at: a lapsed lease after a crash, or a poll that is due.

    Another account's key, or the other mode's, would find nothing at Stripe and judge wrongly.
    """
    with ledger.read() as connection:
        present = ledger.database_now(connection)
        lapsed = or_(attempt.c.lease_until.is_(None), attempt.c.lease_until <= present)
        crashed = attempt.c.state.in_(("prepared", "calling"))
        polled = attempt.c.state.in_(("unknown", "processing", "requires_action")) & (
            or_(attempt.c.next_poll_at.is_(None), attempt.c.next_poll_at <= now)
        )
        ours = attempt.c.account_id == account_id
        if livemode is not None:
            ours &= attempt.c.livemode == livemode
        statement = select(attempt.c.id).where(ours, lapsed, or_(crashed, polled))
        statement = statement.order_by(attempt.c.prepared_at)
        return list(connection.execute(statement.limit(limit)).scalars())


def resolve(
    ledger: Ledger,
    gateway: Gateway,
    attempt_id: str,
    now: datetime,
    owner: str,
    lease_seconds: float,
    boundary: Callable[[str], None],
) -> str:
    """Take over one attempt and bring it as far as Stripe's records allow; its state afterwards."""
    with ledger.write() as connection:
        row = attempts.claim(ledger, connection, attempt_id, owner, lease_seconds)
        if row is None:
            return "skipped"
        found = select(recovery_case).where(recovery_case.c.id == row["case_id"])
        case = dict(connection.execute(found).mappings().one())
        if row["state"] == "calling":
            attempts.update(connection, row, state="unknown", answer="lost")
            cases.record(connection, case, now, ACTOR, "attempt_unknown", attempt_id=row["id"], detail="lost")
            row["state"] = "unknown"
        taken = set(
            connection.execute(
                select(attempt.c.charge_id).where(attempt.c.case_id == case["id"], attempt.c.id != row["id"])
            ).scalars()
        )
    if row["state"] == "prepared":
        settle(ledger, row, Outcome("abandoned", "never_called"), now, ACTOR)
        return "abandoned"
    boundary("janitor_before_get")
    view = look(gateway, case)
    boundary("janitor_after_get")
    outcome, close_as = judge(row, case, view, taken, now)
    recent = now - row["called_at"] < timedelta(hours=REPOST_HOURS)
    if outcome.answer == "no_trace":
        if recent and _may_call_again(ledger, gateway, row, case, now, lease_seconds):
            again = gateway.post(
                operation_path(row), frozen_parameters(row), row["idempotency_key"], row["api_version"]
            )
            outcome = interpret(again)
            if outcome.state == "abandoned":
                outcome = Outcome("unknown", outcome.answer, detail=outcome.detail)
        elif recent or row["poll_count"] < 2:
            outcome = Outcome("unknown", "no_trace_yet")
    settle(ledger, row, outcome, now, ACTOR, close_as=close_as)
    return outcome.state


def _may_call_again(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    case: dict[str, Any],
    now: datetime,
    lease_seconds: float,
) -> bool:
    """Whether all that had to hold for the first call holds now; if so, with the lease renewed for it."""
    if case["state"] != "open" or row["livemode"] != gateway.livemode or not preflight(gateway, case).go:
        return False
    with ledger.write() as connection:
        if load_case(ledger, connection, case["id"])["state"] != "open":
            return False
        lease = ledger.database_now(connection) + timedelta(seconds=lease_seconds)
        return charging_allowed(connection, row["account_id"], now) and attempts.update(
            connection, row, lease_until=lease
        )


def judge(
    row: dict[str, Any], case: dict[str, Any], view: View, taken: set[str | None], now: datetime
) -> tuple[Outcome, str | None]:
    """What Stripe's records say of the attempt, and the state its case must take (None: by the outcome)."""
    if view.standing in ("unread", "key_refused"):
        return Outcome("unknown", view.standing, detail=view.reason), None
    if view.standing == "gone":
        return Outcome("abandoned", "gone", detail=view.reason), "needs_human"
    close_as = {"paid": "paid_elsewhere", "dead": "cancelled"}.get(view.standing)
    if row["answer"] == "look":
        # Stripe has refused the request itself (400), so no charge is ours, and another card must not wait.
        found = "refused" if close_as is None else view.standing
        return Outcome("abandoned", found, detail=row["detail"]), close_as
    since = row["called_at"].timestamp() - 5
    ours = [
        charge
        for charge in view.charges
        if int(charge.get("created") or 0) >= since
        and charge.get("id") not in taken
        and charge.get("id") != case["first_charge_id"]
        and (charge.get("metadata") or {}).get("tinko_attempt", row["id"]) == row["id"]
    ]
    if ours:
        outcome = from_charge(ours[0])
        if outcome.state in ("succeeded", "declined"):
            return outcome, None if outcome.state == "succeeded" else close_as
        return outcome, None
    if close_as is not None:
        return Outcome("abandoned", view.standing, detail=view.reason), close_as
    if view.status in ("processing", "requires_action"):
        late = now - row["called_at"] > timedelta(hours=ACTION_DEADLINE_HOURS)
        if view.status == "requires_action" and late:
            return Outcome("abandoned", "action_never_taken", detail=view.reason), "needs_human"
        return Outcome(str(view.status), str(view.status), executed=True), None
    return Outcome("abandoned", "no_trace", detail=view.reason), None
