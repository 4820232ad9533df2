"""Changing a case inside the caller's transaction; every change of state leaves one event."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Exists, exists, select

from tinko_pipelines.ledger import ids, links
from tinko_pipelines.ledger.schema import MAILED, case_event, message, recovery_case

BY_LINK = "after our mail (link)"
CLOSED = ("recovered", "paid_elsewhere", "exhausted", "cancelled", "not_ours")
DETAIL_LIMIT_CHARACTERS = 500
RECEIPT_STEP = 99
"""Behind every step of a sequence."""


def record(
    connection: Connection,
    case: dict[str, Any],
    at: datetime,
    actor: str,
    kind: str,
    *,
    to_state: str | None = None,
    attempt_id: str | None = None,
    detail: str | None = None,
) -> None:
    """Append one event to the case's history."""
    connection.execute(
        case_event.insert(),
        {
            "case_id": case["id"],
            "account_id": case["account_id"],
            "at": at,
            "actor": actor,
            "kind": kind,
            "from_state": case["state"] if to_state else None,
            "to_state": to_state,
            "attempt_id": attempt_id,
            "detail": (detail or "")[:DETAIL_LIMIT_CHARACTERS] or None,
        },
    )


def change(connection: Connection, case: dict[str, Any], at: datetime, **values: Any) -> None:
    """Update columns of the case, count its version up and end whoever's claim on it.

    It never falls due before the day the customer has asked for.
    """
    wish = values.get("not_before", case.get("not_before"))
    if wish is not None and values.get("due_at") is not None:
        values["due_at"] = max(values["due_at"], wish)
    connection.execute(
        recovery_case.update()
        .where(recovery_case.c.id == case["id"])
        .values(
            version=recovery_case.c.version + 1,
            updated_at=at,
            claimed_by=None,
            claimed_until=None,
            **values,
        )
    )


def close(
    connection: Connection,
    case: dict[str, Any],
    state: str,
    reason: str,
    at: datetime,
    actor: str,
    attempt_id: str | None = None,
    **values: Any,
) -> None:
    """Move the case to `state` (an end, or a person), drop its unsent mail and record why.

    What was paid elsewhere after a customer had gone on from a link of ours was paid by that link. Who was
    reminded of a debt that is recovered, or paid by our link, gets a receipt.
    """
    link = links.followed(connection, case["id"]) if state == "paid_elsewhere" else None
    if link is not None:
        reason = f"{BY_LINK}: {reason}"
        links.used(connection, link["id"], at)
    closed_at = at if state in CLOSED else None
    change(connection, case, at, state=state, state_reason=reason, due_at=None, closed_at=closed_at, **values)
    connection.execute(
        message.update()
        .where(message.c.case_id == case["id"], message.c.state == "scheduled")
        .values(state="dropped", drop_reason=f"case {state}: {reason}"[:200])
    )
    if state == "recovered" or link is not None:
        _thank(connection, case, at)
    record(connection, case, at, actor, "closed", to_state=state, attempt_id=attempt_id, detail=reason)


def reminded(case_id: str) -> Exists:
    """Whether a reminder of the case may have gone out, as a column for whoever reads the case anyhow."""
    return exists().where(
        message.c.case_id == case_id, message.c.kind == "dunning", message.c.state.in_(MAILED)
    )


def _thank(connection: Connection, case: dict[str, Any], at: datetime) -> None:
    """A retry that nobody heard of needs no word; a reminder that may have gone out does."""
    heard = case.get("reminded")
    if heard is None:
        heard = connection.execute(select(reminded(case["id"]))).scalar_one()
    if not heard:
        return
    known = select(message.c.id).where(message.c.case_id == case["id"], message.c.kind == "receipt")
    if connection.execute(known).first() is not None:
        return
    connection.execute(
        message.insert().values(
            id=ids.receipt_id(case["id"]),
            case_id=case["id"],
            account_id=case["account_id"],
            livemode=case["livemode"],
            step=RECEIPT_STEP,
            kind="receipt",
            template="receipt",
            locale=case["locale"],
            state="scheduled",
            due_at=at,
        )
    )


def reopen(
    connection: Connection,
    case: dict[str, Any],
    due_at: datetime,
    at: datetime,
    actor: str,
    *,
    attempt_id: str | None = None,
    reason: str | None = None,
    **values: Any,
) -> None:
    """Hand a case back from a person, with the mails still ahead that were dropped when it went to him."""
    change(connection, case, at, state="open", state_reason=reason, due_at=due_at, **values)
    dropped = message.c.drop_reason.startswith("case needs_human")
    connection.execute(
        message.update()
        .where(message.c.case_id == case["id"], message.c.state == "dropped", dropped, message.c.due_at > at)
        .values(state="scheduled", drop_reason=None)
    )
    record(connection, case, at, actor, "reopened", to_state="open", attempt_id=attempt_id, detail=reason)
