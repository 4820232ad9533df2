"""The outbox's transactions: claim, settle, give back. A mail that was claimed is never sent again.

States: scheduled → sending → sent | failed | in_doubt, or back to scheduled when it certainly did not go out (a
receipt once also when it may have); scheduled → dropped when there is no reason to send it any more.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, exists, literal, select, tuple_
from sqlalchemy.exc import DatabaseError

from tinko_pipelines.errors import GatewayError, TinkoError
from tinko_pipelines.ledger import anomalies, caps
from tinko_pipelines.ledger.cases import record
from tinko_pipelines.ledger.leases import lapsed
from tinko_pipelines.ledger.schema import (
    MAILED,
    SESSION,
    UNRESOLVED,
    attempt,
    card_notice,
    message,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies
from tinko_pipelines.outreach.suppression import suppress

ACTOR = "mail"
LEASE_SECONDS = 120.0
BATCH = 200
PUT_OFF = "put off"
DEFERRALS = tuple(timedelta(minutes=minutes) for minutes in (15, 60, 240, 720, 1440))
"""How long a mail waits each time its server asks to come back later; after the last of them it has failed."""
_GOES_OUT_IN = {"dunning": ("open",), "receipt": ("recovered", "paid_elsewhere")}
"""The states of a case in which a mail of each kind is sent."""


def due(
    ledger: Ledger, now: datetime, account_id: str, livemode: bool, after: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The account's next scheduled messages that are due, each with its case or card; at most `BATCH`, oldest first.

    Those behind the message `after` when one is given. `first_header` names the first mail that its case was sent.
    """
    columns: list[Any] = [message]
    columns += [column.label(f"case_{column.name}") for column in recovery_case.c if column.name != "id"]
    columns += [column.label(f"notice_{column.name}") for column in card_notice.c if column.name != "id"]
    earlier = message.alias("earlier")
    first = (
        select(earlier.c.message_id_header)
        .where(
            earlier.c.case_id == message.c.case_id,
            earlier.c.step < message.c.step,
            earlier.c.state.in_(MAILED),
        )
        .order_by(earlier.c.step)
        .limit(1)
    )
    columns.append(first.scalar_subquery().label("first_header"))
    query = (
        select(*columns)
        .outerjoin(recovery_case, recovery_case.c.id == message.c.case_id)
        .outerjoin(card_notice, card_notice.c.id == message.c.card_notice_id)
        .where(
            message.c.state == "scheduled",
            message.c.due_at <= now,
            message.c.account_id == account_id,
            message.c.livemode == livemode,
            # Whoever has a page open on which he can pay is not reminded meanwhile.
            ~exists().where(
                attempt.c.case_id == message.c.case_id,
                attempt.c.operation == SESSION,
                attempt.c.state.in_(UNRESOLVED),
            ),
        )
        .order_by(message.c.due_at, message.c.id)
        .limit(BATCH)
    )
    if after is not None:
        seen = tuple_(literal(after["due_at"], message.c.due_at.type), literal(after["id"]))
        query = query.where(tuple_(message.c.due_at, message.c.id) > seen)
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def case_of(row: dict[str, Any]) -> dict[str, Any]:
    """The case's columns of a row from `due`."""
    return {key.removeprefix("case_"): value for key, value in row.items() if key.startswith("case_")} | {
        "id": row["case_id"]
    }


def over_at(row: dict[str, Any]) -> datetime:
    """From when on the message of a row from `due` is of no use: its case's plan is over, or its card has ended."""
    over: datetime = row["case_plan_ends_at"] or row["notice_expires_at"]
    return over


def claim(
    ledger: Ledger,
    row: dict[str, Any],
    *,
    owner: str,
    address_hmac: str,
    header: str,
    subject: str,
    variant: str | None,
    body: bytes,
    now: datetime,
) -> str | None:
    """Take the message for sending, durably, before it is sent; the reason when it may not be.

    A cap puts it off until it is free (`put off`), unless the case's plan is over by then. What it says (`body`, sealed)
    is fixed with its first claim.
    """
    values = {
        "claimed_at": now,
        "owner": owner,
        "address_hmac": address_hmac,
        "message_id_header": header,
        "subject": subject,
        "variant": variant,
    }
    try:
        with ledger.write() as connection:
            asked = {"a_message": row["id"], **_wanted(row)}
            lease = ledger.database_now(connection) + timedelta(seconds=LEASE_SECONDS)
            query = ledger.built(_claiming, row["kind"] == "card")
            taken = connection.execute(query, {**values, **asked, "lease_until": lease})
            if taken.rowcount == 1:
                bodies.fix(connection, row, body, now)
                return None
    except DatabaseError as error:
        text = str(error.orig)
        if "suppressed" in text:
            return "suppressed"
        if "paused" in text:
            return "paused"
        if "cap reached" not in text:
            raise
    return _why_not(ledger, {**row, "address_hmac": address_hmac}, now)


def _wanted(row: dict[str, Any]) -> dict[str, Any]:
    """What the claim asks of the case or of the card."""
    if row["kind"] == "card":
        return {"a_card": row["card_notice_id"]}
    return {"a_case": row["case_id"], "in_states": _GOES_OUT_IN[row["kind"]]}


def _claiming(_ledger: Ledger, of_card: bool) -> Any:
    """The claim as one statement; that its case or card still wants it is looked at in the same moment."""
    if of_card:
        wanted = select(card_notice.c.id).where(
            card_notice.c.id == bindparam("a_card"),
            card_notice.c.customer_id.is_not(None),
            card_notice.c.expires_at > bindparam("claimed_at", type_=card_notice.c.expires_at.type),
        )
    else:
        wanted = select(recovery_case.c.id).where(
            recovery_case.c.id == bindparam("a_case"),
            recovery_case.c.state.in_(bindparam("in_states", expanding=True)),
        )
    names = ("claimed_at", "owner", "address_hmac", "message_id_header", "subject", "variant", "lease_until")
    return (
        message.update()
        .where(message.c.id == bindparam("a_message"), message.c.state == "scheduled", wanted.exists())
        .values(state="sending", fence=message.c.fence + 1, **{name: bindparam(name) for name in names})
    )


def _why_not(ledger: Ledger, row: dict[str, Any], now: datetime) -> str:
    """What keeps the message from being claimed: the end of its case, a cap, or another sender."""
    with ledger.write() as connection:
        # Whoever claims it locks it before what its caps count by; so must who puts it off, or the two block each other.
        connection.execute(select(message.c.id).where(message.c.id == row["id"]).with_for_update())
        over = _unwanted(connection, row, now)
        if over is not None:
            return over
        refusal = caps.mail_reached(connection, row, now)
        return "taken by somebody else" if refusal is None else _put_off(connection, row, refusal, now)


def _unwanted(connection: Connection, row: dict[str, Any], now: datetime) -> str | None:
    """Why case or card wants the message no more."""
    if row["kind"] == "card":
        query = select(card_notice.c.customer_id).where(card_notice.c.id == row["card_notice_id"])
        erased = connection.execute(query).scalar() is None
        return "the customer is erased" if erased else "the card has ended" if over_at(row) <= now else None
    query = select(recovery_case.c.state).where(recovery_case.c.id == row["case_id"])
    state = connection.execute(query).scalar_one()
    return None if state in _GOES_OUT_IN[row["kind"]] else f"case {state}"


def _put_off(connection: Connection, row: dict[str, Any], refusal: caps.Refusal, now: datetime) -> str:
    if row["case_id"] is not None:
        caps.store(connection, row["case_id"], row["account_id"], refusal, now)
    if refusal.free_at >= over_at(row):
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
    values["state"] = state
    asked = {**values, "a_message": row["id"], "an_owner": owner}
    with ledger.write() as connection:
        query = ledger.built(_settling, owner is not None, *sorted(values))
        if connection.execute(query, asked).rowcount != 1:
            return False
        _note(connection, row, state, now, values.get("drop_reason") or values.get("detail"))
        return True


def _settling(_ledger: Ledger, owned: bool, *names: str) -> Any:
    """The settlement of a message as one statement."""
    held = message.c.state == ("sending" if owned else "scheduled")
    own = bindparam("an_owner", type_=message.c.owner.type)
    query = message.update().where(message.c.id == bindparam("a_message"), held)
    query = query.where(message.c.owner == own) if owned else query
    return query.values(**{name: bindparam(name) for name in names})


def defer(ledger: Ledger, row: dict[str, Any], now: datetime, *, owner: str, detail: str) -> str:
    """Let a mail wait that its server did not take now, longer each time; the state it is in then."""
    if row["deferrals"] >= len(DEFERRALS):
        settle(ledger, row, "failed", now, owner=owner, detail=f"{detail}, and so each time before")
        return "failed"
    wait = DEFERRALS[row["deferrals"]]
    values = {"due_at": now + wait, "detail": detail, "deferrals": row["deferrals"] + 1}
    settle(ledger, row, "scheduled", now, owner=owner, **values)
    return "scheduled"


def refuse(
    ledger: Ledger, row: dict[str, Any], now: datetime, *, owner: str, detail: str, address_hmac: str | None
) -> None:
    """Note that its server will never take this mail; nothing is sent to the address again where that is at fault."""
    if settle(ledger, row, "failed", now, owner=owner, detail=detail) and address_hmac is not None:
        suppress(ledger, address_hmac, "hard_bounce", now)


def doubt_lapsed(ledger: Ledger, now: datetime) -> int:
    """Claims whose sender died: whether those mails went out nobody knows, so they are never sent again."""
    with ledger.write() as connection:
        found = connection.execute(
            select(message, recovery_case.c.state.label("case_state"))
            .outerjoin(recovery_case, recovery_case.c.id == message.c.case_id)
            .where(message.c.state == "sending", lapsed(ledger, message.c.lease_until))
            .order_by(message.c.id)
            .with_for_update(of=message)
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
    """In the history of the case; a card has none, and its one message says how it stands."""
    if row["case_id"] is None:
        return
    case = {"id": row["case_id"], "account_id": row["account_id"], "state": row["case_state"]}
    text = f"step {row['step']}" + (f": {detail}" if detail else "")
    record(connection, case, now, ACTOR, f"message_{state}", detail=text)
