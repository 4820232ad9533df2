"""Writing down what became of an attempt, and what that means for its case: one transaction, fenced."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.ledger import anomalies, attempts, cases
from tinko_pipelines.ledger.schema import SESSION, attempt, case_event, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.retry import looks, unreadable
from tinko_pipelines.retry.answers import UNCAPTURED, Outcome

_LOOKED = ("unread", "key_refused", "no_right", "no_trace_yet")
"""Answers of a look only: what the call itself was answered with stays known."""


def settle(
    ledger: Ledger,
    row: dict[str, Any],
    outcome: Outcome,
    at: datetime,
    actor: str,
    *,
    close_as: str | None = None,
    paid_twice: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Store `outcome` for the attempt if the fence is still ours; `close_as` overrides the case's next state.

    With `paid_twice`, the charges of a debt whose money has come more than once, the case goes to a person.
    """
    with ledger.write() as connection:
        return settle_within(
            ledger, connection, row, outcome, at, actor, close_as=close_as, paid_twice=paid_twice
        )


def settle_within(
    ledger: Ledger,
    connection: Connection,
    row: dict[str, Any],
    outcome: Outcome,
    at: datetime,
    actor: str,
    *,
    close_as: str | None = None,
    paid_twice: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """The same as a part of the caller's transaction."""
    outcome = _storable(outcome)
    looked = outcome.answer in _LOOKED and row.get("answer") is not None
    values = {
        "http_status": outcome.http_status or row.get("http_status"),
        "request_id": outcome.request_id or row.get("request_id"),
        "charge_id": outcome.charge_id or row.get("charge_id"),
        "decline_code": outcome.decline_code,
        "advice_code": outcome.advice_code,
        "network_decline_code": outcome.network_decline_code,
        "network_advice_code": outcome.network_advice_code,
        "answer": row["answer"] if looked else outcome.answer,
        "detail": row["detail"] if looked else (outcome.detail or "")[:500] or None,
        "executed": outcome.executed,
        "forbids_card": outcome.executed
        and outcome.state == "declined"
        and outcome.forbids_card(row["card_brand"], at.date()),
        "lease_until": None,
    }
    case = load_case(ledger, connection, row["case_id"])
    if outcome.state in ("unknown", "processing", "requires_action"):
        return _keep_open(connection, case, row, outcome, values, at, actor)
    if not attempts.update(connection, row, state=outcome.state, settled_at=at, next_poll_at=None, **values):
        _late_success(connection, case, row, outcome, at)
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
    if paid_twice:
        close_as = "needs_human"
        outcome = replace(outcome, detail=anomalies.paid_twice(connection, case, paid_twice, at))
    _advance_case(connection, case, row, outcome, at, actor, close_as, twice=bool(paid_twice))
    return True


def _storable(outcome: Outcome) -> Outcome:
    """Without NUL and halves of characters, which no database stores: what Stripe says must not keep a result out."""
    texts: dict[str, Any] = {
        name: text.replace("\0", "").encode(errors="ignore").decode()
        for name, text in asdict(outcome).items()
        if isinstance(text, str)
    }
    return replace(outcome, **texts)


def load_case(ledger: Ledger, connection: Connection, case_id: str) -> dict[str, Any]:
    """The case, locked until the transaction ends, and whether a reminder of it may have gone out."""
    reminded = cases.reminded(case_id).label("reminded")
    statement = select(recovery_case, reminded).where(recovery_case.c.id == case_id)
    if ledger.dialect == "postgresql":
        statement = statement.with_for_update(key_share=True)
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
    called_at = row["called_at"] or at
    if row["operation"] == SESSION:
        next_poll_at: datetime | None = looks.next_look_at_page(
            called_at, state, polls, at, case["due_at"], str(values["answer"])
        )
    else:
        next_poll_at = looks.next_look(called_at, state, polls, at, outcome.wait_hours)
    if not attempts.update(
        connection, row, state=state, next_poll_at=next_poll_at, poll_count=polls + 1, **values
    ):
        return False
    if state != row["state"]:
        cases.record(
            connection, case, at, actor, f"attempt_{state}", attempt_id=row["id"], detail=outcome.answer
        )
    reason = None if next_poll_at else f"the outcome stays {state}: nobody looks at it again by itself"
    if outcome.answer == UNCAPTURED:
        reason = f"charge {values['charge_id']} is not captured: capture it at Stripe, or cancel the intent"
    if looks.persons_business(called_at, state, at):
        reason = f"the outcome is unknown a day after the call: {outcome.detail or outcome.answer}"
    if row["operation"] == SESSION and looks.is_overdue(called_at, str(values["answer"]), at):
        reason = f"the page at Stripe does not come to its end: {outcome.detail or outcome.answer}"
    if values["answer"] == "idempotency_error":
        reason = "Stripe knows this attempt's key with other parameters"
        anomalies.note(
            connection,
            row["account_id"],
            "idempotency_error",
            row["id"],
            at,
            case_id=case["id"],
            detail=values["detail"],
            proposal=f"compare attempt {row['id']} with the request log at Stripe, then resolve the case",
        )
    if reason and case["state"] == "open":
        cases.close(connection, case, "needs_human", reason, at, actor, attempt_id=row["id"])
    return True


def _late_success(
    connection: Connection, case: dict[str, Any], row: dict[str, Any], outcome: Outcome, at: datetime
) -> None:
    """Somebody else has judged the attempt meanwhile; if he took it for failed, a charge of ours is in no book."""
    if outcome.state != "succeeded":
        return
    present = connection.execute(select(attempt.c.state).where(attempt.c.id == row["id"])).scalar()
    if present in ("declined", "abandoned"):
        _note_charge(connection, case, row, outcome, at, f"attempt {row['id']} had been settled as {present}")


def _note_charge(
    connection: Connection,
    case: dict[str, Any],
    row: dict[str, Any],
    outcome: Outcome,
    at: datetime,
    why: str,
) -> None:
    charge = outcome.charge_id or f"of {row['object_id']}"
    paid = case["state"] in ("recovered", "paid_elsewhere")
    anomalies.note(
        connection,
        row["account_id"],
        "paid_twice" if paid else "success_after_end",
        case["debt_id"] if paid else row["id"],
        at,
        case_id=case["id"],
        detail=f"our charge {charge} has succeeded, yet {why}",
        proposal=f"look whether the debt was paid or given up without it; if so refund charge {charge}:"
        f" {row['amount_minor']} {row['currency']}",
        charge_id=outcome.charge_id,
        amount_minor=row["amount_minor"],
        currency=row["currency"],
    )


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
        "at": row.get("repeated_at") or row["called_at"] or at,
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
    *,
    twice: bool,
) -> None:
    executed = case["executed_attempts"] + int(outcome.executed)
    if case["state"] not in ("open", "needs_human"):
        if outcome.state == "succeeded":
            _note_charge(connection, case, row, outcome, at, f"the case is {case['state']}")
        return
    if outcome.state == "succeeded" and not twice:
        how = cases.BY_LINK if row["operation"] == SESSION else "our retry succeeded"
        close_as, outcome = "recovered", replace(outcome, detail=how)
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
        elif outcome.executed:
            cases.change(connection, case, at, executed_attempts=executed)
        return
    if outcome.answer == unreadable.UNREAD:
        vain = unreadable.streak(connection, case)
        unreadable.tell(connection, case, vain, outcome.detail, at)
        if vain.for_a_person:
            reason = f"it cannot be read at Stripe, {vain.looks} times in a row: {outcome.detail}"
            cases.close(connection, case, "needs_human", reason, at, actor, attempt_id=row["id"])
            return
        outcome = replace(outcome, wait_hours=vain.wait_hours)
    forbidden = outcome.never_again(case["card_brand"], at.date())
    most = min(case["max_attempts"], executed) if forbidden else case["max_attempts"]
    values = {"executed_attempts": executed, "max_attempts": most}
    due_at = _due_after(case, row, outcome, executed, at)
    if case["state"] == "needs_human":
        reason = f"the outcome is known now: {outcome.state}"
        if at >= case["plan_ends_at"]:
            # Handed back it could be planned anew or written to again, though somebody may have stopped it.
            cases.close(connection, case, "exhausted", reason, at, actor, attempt_id=row["id"], **values)
            return
        if row["operation"] == SESSION and not _is_for_this(connection, row):
            cases.change(connection, case, at, **values)
            return
        cases.reopen(connection, case, due_at, at, actor, attempt_id=row["id"], reason=reason, **values)
    else:
        cases.change(connection, case, at, due_at=due_at, **values)


def _is_for_this(connection: Connection, row: dict[str, Any]) -> bool:
    """Whether the case went to a person because of this attempt, so that it is his no more once that is settled."""
    last = (
        select(case_event.c.attempt_id)
        .where(case_event.c.case_id == row["case_id"], case_event.c.to_state == "needs_human")
        .order_by(case_event.c.id.desc())
        .limit(1)
    )
    return bool(connection.execute(last).scalar() == row["id"])


def _due_after(
    case: dict[str, Any], row: dict[str, Any], outcome: Outcome, executed: int, at: datetime
) -> datetime:
    """What a customer did not pay on a page leaves the plan as it was."""
    if row["operation"] != SESSION:
        return next_due(case, outcome, executed, at)
    return case["due_at"] or next_due(case, replace(outcome, answer="refused"), executed, at)


def next_due(case: dict[str, Any], outcome: Outcome, executed: int, at: datetime) -> datetime:
    """When the case is looked at again: the plan's next retry, or its end when none is left."""
    ends_at: datetime = case["plan_ends_at"]
    if outcome.answer == "cap":
        return max(case["due_at"] or ends_at, at)
    if outcome.state == "abandoned" and outcome.answer != "refused":
        soon = outcome.answer in ("no_trace", "never_called")
        wait_hours = 0.0 if soon else max(0.25, outcome.wait_hours)
        return min(at + timedelta(hours=wait_hours), max(ends_at, at))
    brand, on = case["card_brand"], at.date()
    if executed >= case["max_attempts"] or outcome.never_again(brand, on):
        return max(ends_at, at)
    earliest = at + timedelta(hours=outcome.verdict(brand, on).wait_hours or 0)
    planned = [datetime.fromisoformat(text) for text in json.loads(case["plan"])["retries"]]
    return min((moment for moment in planned if moment > earliest), default=max(ends_at, at))
