"""Writing down what became of an attempt, and what that means for its case: one transaction, fenced."""

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.ledger import anomalies, attempts, cases
from tinko_pipelines.ledger.schema import network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.retry.answers import Outcome

POLL_HOURS = (0.0, 1 / 60, 1 / 12, 1.0, 6.0, 24.0, 24.0, 24.0, 24.0, 24.0, 24.0)
"""After the n-th look the next one waits so long; after the last, a person takes over."""


def settle(
    ledger: Ledger,
    row: dict[str, Any],
    outcome: Outcome,
    at: datetime,
    actor: str,
    *,
    close_as: str | None = None,
) -> bool:
    """Store `outcome` for the attempt if the fence is still ours; `close_as` overrides the case's next state."""
    values = {
        "http_status": outcome.http_status or row.get("http_status"),
        "request_id": outcome.request_id or row.get("request_id"),
        "charge_id": outcome.charge_id or row.get("charge_id"),
        "decline_code": outcome.decline_code,
        "advice_code": outcome.advice_code,
        "network_decline_code": outcome.network_decline_code,
        "network_advice_code": outcome.network_advice_code,
        "answer": outcome.answer,
        "detail": (outcome.detail or "")[:500] or None,
        "executed": outcome.executed,
        "lease_until": None,
    }
    with ledger.write() as connection:
        case = load_case(ledger, connection, row["case_id"])
        if outcome.state in ("unknown", "processing", "requires_action"):
            return _keep_open(connection, case, row, outcome, values, at, actor)
        if not attempts.update(
            connection, row, state=outcome.state, settled_at=at, next_poll_at=None, **values
        ):
            return False
        if outcome.executed and outcome.state in ("succeeded", "declined"):
            _mirror(ledger, connection, row, outcome, at)
        cases.record(
            connection,
            case,
            at,
            actor,
            f"attempt_{outcome.state}",
            attempt_id=row["id"],
            detail=outcome.decline_code or outcome.answer,
        )
        _advance_case(connection, case, row, outcome, at, actor, close_as)
    return True


def load_case(ledger: Ledger, connection: Connection, case_id: str) -> dict[str, Any]:
    """The case, locked until the transaction ends."""
    statement = select(recovery_case).where(recovery_case.c.id == case_id)
    if ledger.dialect == "postgresql":
        statement = statement.with_for_update()
    return dict(connection.execute(statement).mappings().one())


def _keep_open(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    outcome: Outcome,
    values: dict[str, Any],
    at: datetime,
    actor: str,
) -> bool:
    polls = row["poll_count"]
    state = outcome.state
    if row["state"] in ("processing", "requires_action"):
        state = row["state"]
    wait = POLL_HOURS[min(polls, len(POLL_HOURS) - 1)]
    if not attempts.update(
        connection, row, state=state, next_poll_at=at + timedelta(hours=wait), poll_count=polls + 1, **values
    ):
        return False
    if outcome.answer == "idempotency_error":
        anomalies.note(
            connection, row["account_id"], "idempotency_error", row["id"], at, case_id=row["case_id"]
        )
    if polls >= len(POLL_HOURS) and case["state"] == "open":
        cases.close(
            connection, case, "needs_human", "the outcome stays unknown", at, actor, attempt_id=row["id"]
        )
    return True


def _mirror(
    ledger: Ledger, connection: Connection, row: dict[str, Any], outcome: Outcome, at: datetime
) -> None:
    """Note the charge among those the caps count, whether or not a look at the customer has noted it already."""
    seen = {
        "charge_id": outcome.charge_id or f"attempt:{row['id']}",
        "account_id": row["account_id"],
        "livemode": row["livemode"],
        "card_fingerprint": row["card_fingerprint"],
        "card_brand": row["card_brand"],
        "customer_id": row["customer_id"],
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
        "at": row["called_at"] or at,
        "declined": outcome.state == "declined",
        "ours": True,
    }
    if connection.execute(insert_ignoring(ledger.dialect, network_attempt).values(seen)).rowcount == 0:
        connection.execute(
            network_attempt.update()
            .where(network_attempt.c.charge_id == seen["charge_id"])
            .values(ours=True, declined=seen["declined"])
        )


def _advance_case(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    outcome: Outcome,
    at: datetime,
    actor: str,
    close_as: str | None,
) -> None:
    executed = case["executed_attempts"] + int(outcome.executed)
    if case["state"] not in ("open", "needs_human"):
        return
    if outcome.state == "succeeded":
        cases.close(
            connection,
            case,
            "recovered",
            "our retry succeeded",
            at,
            actor,
            attempt_id=row["id"],
            executed_attempts=executed,
        )
        return
    if close_as is not None:
        if close_as != case["state"]:
            reason = outcome.detail or outcome.answer
            cases.close(
                connection,
                case,
                close_as,
                reason,
                at,
                actor,
                attempt_id=row["id"],
                executed_attempts=executed,
            )
        return
    due_at = next_due(case, outcome, executed, at)
    forbidden = outcome.never_again(case["card_brand"], at.date())
    if case["state"] == "needs_human":
        cases.record(connection, case, at, actor, "reopened", to_state="open", attempt_id=row["id"])
    cases.change(
        connection,
        case,
        at,
        state="open",
        due_at=due_at,
        executed_attempts=executed,
        max_attempts=min(case["max_attempts"], executed) if forbidden else case["max_attempts"],
    )


def next_due(case: dict[str, Any], outcome: Outcome, executed: int, at: datetime) -> datetime:
    """When the case is looked at again: the plan's next retry, or its end when none is left."""
    ends_at: datetime = case["plan_ends_at"]
    if outcome.answer == "cap":
        return max(case["due_at"] or ends_at, at)
    if outcome.state == "abandoned" and outcome.answer != "refused":
        wait_hours = 0.0 if outcome.answer in ("no_trace", "never_called") else 0.25
        return min(at + timedelta(hours=wait_hours), max(ends_at, at))
    brand, on = case["card_brand"], at.date()
    if executed >= case["max_attempts"] or outcome.never_again(brand, on):
        return max(ends_at, at)
    earliest = at + timedelta(hours=outcome.verdict(brand, on).wait_hours or 0)
    planned = [datetime.fromisoformat(text) for text in json.loads(case["plan"])["retries"]]
    return min((moment for moment in planned if moment > earliest), default=max(ends_at, at))
