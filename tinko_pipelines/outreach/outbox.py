"""The outbox's transactions: claim, settle, give back. A mail that was claimed is never sent again.

States: scheduled → sending → sent | failed | in_doubt, or back to scheduled when it certainly did not go out (a
receipt once also when it may have); scheduled → dropped when there is no reason to send it any more.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from tinko_pipelines.errors import GatewayError, TinkoError
from tinko_pipelines.ledger import anomalies, caps
from tinko_pipelines.ledger.cases import record
from tinko_pipelines.ledger.leases import lapsed
from tinko_pipelines.ledger.schema import message, recovery_case
from tinko_pipelines.ledger.store import Ledger

ACTOR = "mail"
LEASE_SECONDS = 120.0
BATCH = 200
PUT_OFF = "put off"


def due(ledger: Ledger, now: datetime, account_id: str, livemode: bool) -> list[dict[str, Any]]:
    """The account's next scheduled messages that are due, each with its case; at most `BATCH`, oldest first."""
    columns: list[Any] = [message]
    columns += [column.label(f"case_{column.name}") for column in recovery_case.c if column.name != "id"]
    query = (
        select(*columns)
        .join(recovery_case, recovery_case.c.id == message.c.case_id)
        .where(
            message.c.state == "scheduled",
            message.c.due_at <= now,
            message.c.account_id == account_id,
            message.c.livemode == livemode,
        )
        .order_by(message.c.due_at, message.c.id)
        .limit(BATCH)
    )
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def case_of(row: dict[str, Any]) -> dict[str, Any]:
    """The case's columns of a row from `due`."""
    return {key.removeprefix("case_"): value for key, value in row.items() if key.startswith("case_")} | {
        "id": row["case_id"]
    }


def claim(
    ledger: Ledger,
    row: dict[str, Any],
    *,
    owner: str,
    address_hmac: str,
    header: str,
    subject: str,
    now: datetime,
) -> str | None:
    """Take the message for sending, durably, before it is sent; the reason when it may not be.

    A cap puts it off until it is free (`put off`), unless the case's plan is over by then.
    """
    try:
        with ledger.write() as connection:
            state = connection.execute(
                select(recovery_case.c.state).where(recovery_case.c.id == row["case_id"])
            ).scalar_one()
            if state != ("recovered" if row["kind"] == "receipt" else "open"):
                return f"case {state}"
            refusal = caps.mail_reached(connection, {**row, "address_hmac": address_hmac}, now)
            if refusal is not None:
                return _put_off(connection, row, refusal, now)
            lease = ledger.database_now(connection) + timedelta(seconds=LEASE_SECONDS)
            taken = connection.execute(
                message.update()
                .where(message.c.id == row["id"], message.c.state == "scheduled")
                .values(
                    state="sending",
                    claimed_at=now,
                    owner=owner,
                    lease_until=lease,
                    fence=message.c.fence + 1,
                    address_hmac=address_hmac,
                    message_id_header=header,
                    subject=subject,
                )
            )
            return None if taken.rowcount == 1 else "taken by somebody else"
    except DatabaseError as error:
        text = str(error.orig)
        if "suppressed" in text:
            return "suppressed"
        if "paused" in text:
            return "paused"
        if "cap reached" in text:
            return "taken by somebody else"
        raise


def _put_off(connection: Connection, row: dict[str, Any], refusal: caps.Refusal, now: datetime) -> str:
    caps.store(connection, row["case_id"], row["account_id"], refusal, now)
    if refusal.free_at >= row["case_plan_ends_at"]:
        return f"{refusal.rule} lets no mail through before the plan is over"
    connection.execute(
        message.update()
        .where(message.c.id == row["id"], message.c.state == "scheduled")
        .values(due_at=refusal.free_at, detail=f"put off by {refusal.rule}")
    )
    return PUT_OFF


def wait_for_hours(ledger: Ledger, row: dict[str, Any], until: datetime) -> None:
    """Let a reminder wait until its customer's day has begun; it is looked at anew then."""
    with ledger.write() as connection:
        connection.execute(
            message.update()
            .where(message.c.id == row["id"], message.c.state == "scheduled")
            .values(due_at=until, detail="waits for the customer's day")
        )


def put_off(ledger: Ledger, row: dict[str, Any], error: Exception, now: datetime, until: datetime) -> None:
    """Let a message that cannot be prepared wait; what is no fault of Stripe's is also for a person to see."""
    unread = isinstance(error, GatewayError)
    said = str(error) if isinstance(error, TinkoError) else type(error).__name__
    with ledger.write() as connection:
        waiting = (message.c.id == row["id"], message.c.state == "scheduled")
        values = {"due_at": until, "detail": said[:500]}
        if connection.execute(message.update().where(*waiting).values(**values)).rowcount != 1:
            return
        _note(connection, row, "put_off", now, said)
        if not unread:
            anomalies.note(
                connection,
                row["account_id"],
                "mail_failed",
                row["id"],
                now,
                case_id=row["case_id"],
                detail=f"step {row['step']} cannot be written: {said}"[:500],
                proposal="look at the case; the mail is tried again every hour until its plan is over",
            )


def settle(
    ledger: Ledger, row: dict[str, Any], state: str, now: datetime, *, owner: str | None, **values: Any
) -> bool:
    """Move a message on and record it; with `owner`, only while it is still his claim."""
    with ledger.write() as connection:
        query = message.update().where(message.c.id == row["id"])
        if owner is None:
            query = query.where(message.c.state == "scheduled")
        else:
            query = query.where(message.c.state == "sending", message.c.owner == owner)
        if connection.execute(query.values(state=state, **values)).rowcount != 1:
            return False
        _note(connection, row, state, now, values.get("drop_reason") or values.get("detail"))
        return True


def doubt_lapsed(ledger: Ledger, now: datetime) -> int:
    """Claims whose sender died: whether those mails went out nobody knows, so they are never sent again."""
    with ledger.write() as connection:
        found = connection.execute(
            select(message, recovery_case.c.state.label("case_state"))
            .join(recovery_case, recovery_case.c.id == message.c.case_id)
            .where(message.c.state == "sending", lapsed(ledger, message.c.lease_until))
        ).mappings()
        rows = [dict(row) for row in found]
        for row in rows:
            _doubt(connection, row, now, "its sender ended between claim and answer")
        return len(rows)


def doubt(ledger: Ledger, row: dict[str, Any], now: datetime, *, owner: str, detail: str) -> str | None:
    """Note that our claim may have gone out or not; the state it is in now, None when it is not ours any more."""
    with ledger.write() as connection:
        ours = select(message).where(
            message.c.id == row["id"], message.c.state == "sending", message.c.owner == owner
        )
        if connection.execute(ours).first() is None:
            return None
        return _doubt(connection, row, now, detail)


def _doubt(connection: Connection, row: dict[str, Any], now: datetime, detail: str) -> str:
    """A reminder waits for a person; a receipt, which must arrive, is sent a second and last time."""
    state = "scheduled" if row["kind"] == "receipt" and row["doubts"] == 0 else "in_doubt"
    connection.execute(
        message.update()
        .where(message.c.id == row["id"], message.c.state == "sending")
        .values(state=state, detail=detail, doubts=message.c.doubts + 1)
    )
    _note(connection, row, state, now, detail)
    return state


def _note(connection: Connection, row: dict[str, Any], state: str, now: datetime, detail: str | None) -> None:
    case = {"id": row["case_id"], "account_id": row["account_id"], "state": row["case_state"]}
    text = f"step {row['step']}" + (f": {detail}" if detail else "")
    record(connection, case, now, ACTOR, f"message_{state}", detail=text)
