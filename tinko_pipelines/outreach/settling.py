"""How a message ends, or waits again: sent, failed, in doubt, dropped, back to scheduled. What ended so stays so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select

from tinko_pipelines.ledger.cases import record
from tinko_pipelines.ledger.leases import lapsed
from tinko_pipelines.ledger.schema import message, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.suppression import suppress
from tinko_pipelines.outreach.waiting import page_open

ACTOR = "mail"
DEFERRALS = tuple(timedelta(minutes=minutes) for minutes in (15, 60, 240, 720, 1440))
"""How long a mail waits each time its server asks to come back later; after the last of them it has failed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A mail that its server has taken, not written down yet: the row from `waiting.due`, by whom it was claimed, and when."""

    row: dict[str, Any]
    owner: str
    at: datetime


def drop(ledger: Ledger, row: dict[str, Any], reason: str, now: datetime) -> bool:
    """Note that the message has nothing to say any more; False where what was looked at is not what its case is about now.

    While a page is open the intent before it is cancelled, and afterwards another one stands for the debt.
    """
    if row["case_id"] is None:
        return settle(ledger, row, "dropped", now, owner=None, drop_reason=reason)
    same = select(recovery_case.c.id).where(
        recovery_case.c.id == row["case_id"],
        recovery_case.c.live_object_id == row["case_live_object_id"],
        ~page_open(recovery_case.c.id),
    )
    with ledger.write() as connection:
        if connection.execute(same).first() is None:
            return False
        return settle_in(ledger, connection, row, "dropped", now, owner=None, drop_reason=reason)


def settle(
    ledger: Ledger, row: dict[str, Any], state: str, now: datetime, *, owner: str | None, **values: Any
) -> bool:
    """Move a message on and record it; with `owner`, only while it is still his claim."""
    with ledger.write() as connection:
        return settle_in(ledger, connection, row, state, now, owner=owner, **values)


def settle_answered(ledger: Ledger, answered: Sequence[Answered]) -> None:
    """Write down what was taken, where no claim comes at once that could do so on its way."""
    if not answered:
        return
    with ledger.write() as connection:
        for one in answered:
            settle_in(ledger, connection, one.row, "sent", one.at, owner=one.owner, sent_at=one.at)


def settle_in(
    ledger: Ledger,
    connection: Connection,
    row: dict[str, Any],
    state: str,
    now: datetime,
    *,
    owner: str | None,
    **values: Any,
) -> bool:
    """The same within a transaction."""
    values["state"] = state
    asked = {**values, "a_message": row["id"], "an_owner": owner}
    query = ledger.built(_settling, owner is not None, *sorted(values))
    if connection.execute(query, asked).rowcount != 1:
        return False
    note(connection, row, state, now, values.get("drop_reason") or values.get("detail"))
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
    note(connection, row, state, now, detail)
    return state


def note(connection: Connection, row: dict[str, Any], state: str, now: datetime, detail: str | None) -> None:
    """In the history of the case; a card has none, and its one message says how it stands."""
    if row["case_id"] is None:
        return
    case = {"id": row["case_id"], "account_id": row["account_id"], "state": row["case_state"]}
    text = f"step {row['step']}" + (f": {detail}" if detail else "")
    record(connection, case, now, ACTOR, f"message_{state}", detail=text)
