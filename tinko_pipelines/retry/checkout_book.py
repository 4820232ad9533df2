"""What becomes of a page at Stripe, written down: attempt, page, link and case in one transaction, fenced."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.ledger import anomalies, cases, links
from tinko_pipelines.ledger.schema import checkout_session
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome
from tinko_pipelines.retry.settle import load_case, settle_within

ACTOR = "janitor"

Row = dict[str, Any]


def page_row(ledger: Ledger, attempt_id: str) -> Row:
    """What the ledger knows of a page beside its attempt."""
    with ledger.read() as connection:
        found = connection.execute(
            select(checkout_session).where(checkout_session.c.attempt_id == attempt_id)
        )
        return dict(found.mappings().one())


def settle_page(ledger: Ledger, row: Row, page: Row, outcome: Outcome, now: datetime, **more: Any) -> bool:
    """Store what became of a page in one transaction, if the fence is still ours: attempt, page, link and case."""
    with ledger.write() as connection:
        return settle_page_within(ledger, connection, row, page, outcome, now, **more)


def settle_page_within(
    ledger: Ledger,
    connection: Connection,
    row: Row,
    page: Row,
    outcome: Outcome,
    now: datetime,
    actor: str = ACTOR,
    *,
    close_as: str | None = None,
    live_object_id: str | None = None,
    paid_twice: Sequence[Mapping[str, Any]] = (),
    **known: Any,
) -> bool:
    """The same as a part of the caller's transaction; `known` are columns of the page."""
    settled = settle_within(
        ledger, connection, row, outcome, now, actor, close_as=close_as, paid_twice=paid_twice
    )
    if not settled:
        return False
    values = {name: value for name, value in known.items() if value is not None}
    if values:
        connection.execute(
            checkout_session.update().where(checkout_session.c.attempt_id == row["id"]).values(**values)
        )
    if live_object_id is not None:
        case = load_case(ledger, connection, row["case_id"])
        names = {"live_object_id": live_object_id, "payment_intent_id": live_object_id}
        cases.change(connection, case, now, **names)
    if outcome.state == "succeeded":
        links.used(connection, page["link_id"], now)
    return True


def tell_refused(ledger: Ledger, row: Row, subject: str, why: str, at: datetime) -> None:
    """Have a person told that Stripe takes no request for pages; retries go on, and no key is given up for it."""
    with ledger.write() as connection:
        anomalies.note(
            connection,
            row["account_id"],
            "pages_refused",
            subject,
            at,
            case_id=row["case_id"],
            detail=f"Stripe refuses a payment page: {why}"[:500],
            proposal="give the key the right to write Checkout Sessions, or mend what is said; nothing was cancelled for it",
        )
