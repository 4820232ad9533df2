"""Hosted payment pages: what they will charge, and the customer who completes one, or lets it expire."""

from typing import Any

from tinko_pipelines.sandbox import aftermath, cards, charging, people
from tinko_pipelines.sandbox.book import DAY, Book
from tinko_pipelines.sandbox.errors import wrong_state
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.ports import CardTruth
from tinko_pipelines.sandbox.shapes import doors as shapes
from tinko_pipelines.sandbox.shapes import payments
from tinko_pipelines.sandbox.store import Object

DEBITS = {"bank_debit": True, "bank_debit_fails": False}
"""Bank debits a customer can pay by on a page, and whether they go through in the end."""
DEBIT_DAYS = 6


def open_session(book: Book, natural: str, mode: str, intent: Object, **fields: Any) -> Object:
    """A page that stays open for its time; `intent` are the fields its payment intent will have."""
    session_id = book.fresh_id("checkout_sessions", "cs", natural)
    made = shapes.checkout_session(session_id, book.now, mode, **fields)
    book.put("checkout_sessions", made)
    book.put("checkout_intents", {"id": session_id, "fields": intent})
    book.store.push(made["expires_at"], "session_expiry", {"session": session_id})
    return made


def complete(book: Book, session: Object, card: CardTruth | None) -> bool:
    """The customer pays on the page, with `card` or the one at hand; an intent is made at the first try."""
    if session["status"] != "open":
        raise wrong_state(f"This Session is {session['status']}.", None)
    owner = book.find("customers", session["customer"]) if session["customer"] else None
    if card is not None:
        method = cards.new_method(book, card, owner, attached=False)
    else:
        at_hand = people.wallet_of(book, owner["id"]) if owner else None
        if at_hand is None:
            return False
        method = book.find("payment_methods", at_hand)
        if method["customer"] is None:
            method = cards.new_method(book, cards.truth_of(book, at_hand), owner, attached=False)
    if session["mode"] == "setup":
        if owner is not None and method["customer"] is None:
            people.attach(book, method, owner)
        _finish(book, session)
        return True
    intent = _intent_of(book, session)
    tried = charging.charge(book, intent, method, off_session=False)
    if tried.decision.outcome != "approved":
        return False
    _finish(book, session, payment_status="paid", payment_intent=intent["id"])
    return True


def debit(book: Book, session: Object, name: str) -> None:
    """The customer pays by bank debit: the page is complete at once, and the bank takes days for the money."""
    allowed = session.get("allowed_payment_method_types")
    if session["status"] != "open" or (allowed and "sepa_debit" not in allowed):
        raise wrong_state(f"This Session is {session['status']} and takes {allowed or 'every method'}.", None)
    owner = book.find("customers", session["customer"]) if session["customer"] else None
    key = f"{session['id']}:{name}"
    account = CardTruth(
        key=key,
        brand="sepa",
        network="sepa",
        funding="debit",
        country="DE",
        exp_month=12,
        exp_year=2099,
        fingerprint=object_id(0, "fp", key)[3:19],
        last4="3000",
        issuer="fixture-bank",
        type="sepa_debit",
    )
    method = cards.new_method(book, account, owner, attached=False, script=[(0, "processing")])
    intent = _intent_of(book, session)
    tried = charging.charge(book, intent, method, off_session=False)
    _finish(book, session, payment_status="unpaid", payment_intent=intent["id"])
    charge = tried.charge["id"] if tried.charge else None
    happening = {"session": session["id"], "charge": charge, "name": name}
    book.store.push(book.now + DEBIT_DAYS * DAY, "session_debit", happening)


def settle_debit(book: Book, session: Object, charge: Object, name: str) -> None:
    """The bank has paid, or has not; a page whose debit came back stays complete."""
    kind = "checkout.session.async_payment"
    if DEBITS[name]:
        aftermath.settle_pending(book, charge)
        book.change("checkout_sessions", session, f"{kind}_succeeded", payment_status="paid")
    else:
        charging.come_back(book, charge)
        book.emit(f"{kind}_failed", session)


def of_intent(book: Book, intent: Object) -> Object | None:
    """The page that has made an intent."""
    found = book.store.related("checkout_sessions", "payment_intent", intent["id"])
    return found[-1] if found else None


def _intent_of(book: Book, session: Object) -> Object:
    if session["payment_intent"]:
        return book.find("payment_intents", session["payment_intent"])
    kept = book.store.objects["checkout_intents"][session["id"]]
    name = book.fresh_id("payment_intents", "pi", session["id"])
    intent = payments.payment_intent(
        name, book.now, session["amount_total"], session["currency"], session["customer"], **kept["fields"]
    )
    book.put("payment_intents", intent)
    book.emit("payment_intent.created", intent)
    book.change("checkout_sessions", session, payment_intent=name)
    return intent


def _finish(book: Book, session: Object, **fields: Any) -> None:
    kind = "checkout.session.completed"
    book.change("checkout_sessions", session, kind, status="complete", url=None, **fields)


def expire(book: Book, session: Object) -> Object:
    """Close an open page; its unpaid intent is cancelled with it."""
    if session["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired. This Session has a status of {session["status"]}.'
        raise wrong_state(message, None)
    if session["payment_intent"]:
        intent = book.find("payment_intents", session["payment_intent"])
        if intent["status"] in charging.PAYABLE:
            charging.cancel(book, intent, "expired")
    return book.change("checkout_sessions", session, "checkout.session.expired", status="expired", url=None)
