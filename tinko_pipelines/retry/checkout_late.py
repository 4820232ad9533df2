"""Pages that were given up and are looked at once more when Stripe tells of money: what they have brought is in no other book.

They are few, and nothing is asked for a case without them.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, select

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import attempt, checkout_session, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import is_paid
from tinko_pipelines.retry.checkout_look import NOT_READ, Object, Row, expired, name_of, page_at
from tinko_pipelines.retry.preflight import View, oldest_first

_AT_ONCE = 100


def has_pages() -> ColumnElement[bool]:
    """Whether a case has pages, as a condition on it."""
    return exists().where(checkout_session.c.case_id == recovery_case.c.id)


def with_pages(ledger: Ledger, gateway: Gateway, case: Row, view: View) -> View:
    """The view of a debt with what its settled pages have brought; unread where one of these cannot be read.

    A page that is still open though it was given up is closed.
    """
    if view.standing not in ("paid", "dead", "open"):
        return view
    late: list[Object] = []
    for row in _given_up(ledger, case["id"]):
        found = page_at(gateway, row["session_id"])
        if found.status == "open":
            found = expired(gateway, row, row["session_id"])
        if found.status == "no_right":
            continue
        if found.status in NOT_READ:
            return View("unread", found.reason)
        intent = name_of(found.body.get("payment_intent"))
        if found.status != "complete" or intent is None:
            continue
        listed = gateway.get("/v1/charges", {"payment_intent": intent, "limit": _AT_ONCE})
        if not listed.ok:
            return View("unread", listed.message or "the charges of a page")
        late += [charge for charge in (listed.body or {}).get("data") or () if is_paid(charge)]
    known = {charge.get("id") for charge in view.charges}
    late = [charge for charge in late if charge.get("id") not in known]
    if not late:
        return view
    reason = f"a page that had been given up was paid, by charge {late[0].get('id')}"
    charges = oldest_first([*view.charges, *late])
    return replace(view, standing="paid", reason=reason, charges=charges, late=tuple(late))


def tell(connection: Connection, case: Row, late: tuple[Object, ...], at: datetime) -> None:
    """Have a person told that money has come for a debt that was given up."""
    charge = late[0]
    anomalies.note(
        connection,
        case["account_id"],
        "success_after_end",
        case["debt_id"],
        at,
        case_id=case["id"],
        detail=f"charge {charge.get('id')} on a page has succeeded, yet the case is {case['state']}",
        proposal=f"look whether the debt was paid or given up without it; if so refund charge {charge.get('id')}",
        charge_id=charge.get("id"),
        amount_minor=charge.get("amount"),
        currency=charge.get("currency"),
    )


def _given_up(ledger: Ledger, case_id: str) -> list[Row]:
    columns = (
        attempt.c.idempotency_key,
        attempt.c.fence,
        attempt.c.api_version,
        checkout_session.c.session_id,
    )
    query = (
        select(*columns)
        .join(checkout_session, checkout_session.c.attempt_id == attempt.c.id)
        .where(
            attempt.c.case_id == case_id,
            attempt.c.state == "abandoned",
            checkout_session.c.session_id.is_not(None),
        )
    )
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
