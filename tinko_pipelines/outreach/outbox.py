"""The outbox's claim, and what waits before it. A mail that was claimed is never sent again; `settling` says how it ends.

States: scheduled → sending → sent | failed | in_doubt, or back to scheduled when it certainly did not go out (a
receipt once also when it may have); scheduled → dropped when there is no reason to send it any more.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import DatabaseError

from tinko_pipelines.errors import GatewayError, TinkoError
from tinko_pipelines.ledger import anomalies, caps
from tinko_pipelines.ledger.schema import card_notice, message, recovery_case, recovery_link
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies
from tinko_pipelines.outreach.settling import Answered, note, settle_answered, settle_in
from tinko_pipelines.outreach.waiting import over_at, page_open

LEASE_SECONDS = 120.0
PUT_OFF = "put off"
_GOES_OUT_IN = {"dunning": ("open",), "receipt": ("recovered", "paid_elsewhere")}
"""The states of a case in which a mail of each kind is sent."""


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
    link: dict[str, Any] | None = None,
    answered: Sequence[Answered] = (),
) -> str | None:
    """Take the message for sending, durably, before it is sent; the reason when it may not be.

    A cap puts it off until it is free (`put off`), unless the case's plan is over by then. What it says (`body`, sealed)
    is fixed with its first claim, and with it the row of the `link` in it. What was `answered` before is written down in the same
    transaction, or in one of its own where this claim is refused.
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
            for one in answered:
                settle_in(ledger, connection, one.row, "sent", one.at, owner=one.owner, sent_at=one.at)
            asked = {"a_message": row["id"], "a_fence": row["fence"], **_wanted(row)}
            query = ledger.built(_claiming, row["kind"])
            taken = connection.execute(query, {**values, **asked}).rowcount == 1
            if taken:
                bodies.fix(connection, row, body, now)
            if taken and link is not None:
                connection.execute(recovery_link.insert(), link)
        if taken:
            return None
    except DatabaseError as error:
        settle_answered(ledger, answered)
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


def _claiming(ledger: Ledger, kind: str) -> Any:
    """The claim as one statement; that its case or card still wants it is looked at in the same moment."""
    if kind == "card":
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
        if kind == "dunning":
            wanted = wanted.where(~page_open(recovery_case.c.id))
    names = ("claimed_at", "owner", "address_hmac", "message_id_header", "subject", "variant")
    return (
        message.update()
        .where(
            message.c.id == bindparam("a_message"),
            message.c.fence == bindparam("a_fence"),
            message.c.state == "scheduled",
            wanted.exists(),
        )
        .values(
            state="sending",
            fence=message.c.fence + 1,
            lease_until=ledger.database_moment(LEASE_SECONDS),
            **{name: bindparam(name) for name in names},
        )
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


def wait(ledger: Ledger, row: dict[str, Any], until: datetime, why: str) -> None:
    """Let a message wait; it is looked at anew then."""
    with ledger.write() as connection:
        connection.execute(
            message.update()
            .where(message.c.id == row["id"], message.c.state == "scheduled")
            .values(due_at=until, detail=why)
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
        note(connection, row, "put_off", now, said)
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
