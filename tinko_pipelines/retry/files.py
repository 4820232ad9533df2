"""What the ledger and Stripe have on a case or a mail, for a person to read. Changes nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, or_, select

from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import (
    attempt,
    case_event,
    checkout_session,
    message,
    recovery_case,
    recovery_link,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.checkout_end import status_of
from tinko_pipelines.retry.preflight import look

SHORTEST = 6
"""So much of a case's id at least tells it from the others."""
_SHOWN = ("id", "status", "amount", "currency", "created", "amount_refunded", "disputed", "failure_code")

Row = dict[str, Any]


def rows(connection: Connection, query: Any) -> list[Row]:
    """The rows of a query, each by its columns' names."""
    return [dict(row) for row in connection.execute(query).mappings()]


def find_case(connection: Connection, reference: str) -> Row:
    """A case by its id, its debt's id or the beginning of its own; InputError where that is not one case."""
    column = recovery_case.c
    exact = or_(column.id == reference, column.debt_id == reference, column.live_object_id == reference)
    found = rows(connection, select(recovery_case).where(exact).limit(2))
    if not found and len(reference) >= SHORTEST:
        begins = column.id.startswith(reference, autoescape=True)
        found = rows(connection, select(recovery_case).where(begins).limit(2))
    if len(found) != 1:
        what = "more than one case is" if found else "no case is"
        raise InputError(f"{what} called {reference!r}: give its id or its debt's, see `tinko case list`")
    return found[0]


def list_cases(ledger: Ledger, state: str | None, limit: int) -> list[Row]:
    """Cases of all accounts, the longest untouched first."""
    query = select(recovery_case)
    if state is not None:
        query = query.where(recovery_case.c.state == state)
    with ledger.read() as connection:
        return rows(connection, query.order_by(recovery_case.c.updated_at, recovery_case.c.id).limit(limit))


def whole_case(ledger: Ledger, reference: str) -> dict[str, list[Row]]:
    """A case with its attempts, links, pages at Stripe, messages, events and open anomalies, each in its order."""
    parts: tuple[tuple[str, Table, ColumnElement[Any]], ...] = (
        ("attempts", attempt, attempt.c.n),
        ("links", recovery_link, recovery_link.c.created_at),
        ("pages", checkout_session, checkout_session.c.expires_at),
        ("messages", message, message.c.step),
    )
    with ledger.read() as connection:
        case = find_case(connection, reference)
        found = {"case": [case]}
        for name, table, order in (*parts, ("events", case_event, case_event.c.id)):
            of_case = select(table).where(table.c.case_id == case["id"])
            found[name] = rows(connection, of_case.order_by(order))
    found["anomalies"] = [row for row in anomalies.still_open(ledger) if row["case_id"] == case["id"]]
    return found


def stripe_shows(gateway: Gateway, case: Row, pages: Sequence[Row] = ()) -> Row:
    """The debt at Stripe now, its charges, and how the pages stand on which it can be paid."""
    view = look(gateway, case)
    named = [page["session_id"] for page in pages if page["session_id"]]
    shown = [{"session_id": name, "status": status_of(gateway, name)} for name in named]
    charges = [{name: charge.get(name) for name in _SHOWN} for charge in view.charges]
    return {"standing": view.standing, "reason": view.reason, "charges": charges, "pages": shown}


def list_mails(ledger: Ledger, state: str | None, limit: int) -> list[Row]:
    """Messages of all accounts, the oldest first."""
    query = select(message)
    if state is not None:
        query = query.where(message.c.state == state)
    with ledger.read() as connection:
        return rows(connection, query.order_by(message.c.due_at, message.c.id).limit(limit))
