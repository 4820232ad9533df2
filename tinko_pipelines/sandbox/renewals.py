"""What the book does of its own accord when the clock passes: renewals, Stripe's retries, expiries."""

from collections.abc import Callable, Mapping
from functools import partial

from tinko_pipelines.sandbox import aftermath, billing, charging, checkout, smart_retries
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.charging import Try
from tinko_pipelines.sandbox.store import Object

INCOMPLETE_SECONDS = 23 * 3_600
"""How long a subscription may wait for its first payment."""


def renew(
    book: Book, subscription: Object, reason: str, *, stripe_retries: bool
) -> tuple[Object, Try | None]:
    """Bill one period and charge it at once; no try when there is nothing to charge."""
    invoice = billing.bill(book, subscription, reason)
    if not billing.has_method(book, invoice):
        return invoice, None
    plan = partial(smart_retries.plan, book, invoice, 0, stripe_retries)
    tried = billing.pay(book, invoice, billing.method_for(book, invoice), off_session=True, plan=plan)
    return invoice, tried


def schedule_renewal(book: Book, subscription: Object) -> None:
    """Have a subscription made through the API billed again when its period ends."""
    at = subscription["items"]["data"][0]["current_period_end"]
    book.store.push(at, "period_end", {"subscription": subscription["id"]})


def _period_end(book: Book, payload: Mapping[str, object]) -> None:
    subscription = book.find("subscriptions", str(payload["subscription"]))
    if subscription["status"] in billing.ENDED:
        return
    if subscription["cancel_at_period_end"]:
        billing.cancel_subscription(book, subscription, "cancellation_requested")
        return
    renew(book, subscription, "subscription_cycle", stripe_retries=True)
    schedule_renewal(book, subscription)


def _stripe_retry(book: Book, payload: Mapping[str, object]) -> None:
    invoice = book.find("invoices", str(payload["invoice"]))
    if invoice["status"] != "open" or invoice["next_payment_attempt"] != book.now:
        return
    done = int(str(payload["done"])) + 1
    payable = billing.intent_of(book, invoice)["status"] in charging.PAYABLE
    if not payable or not billing.has_method(book, invoice):
        smart_retries.stop(book, invoice)
        return
    plan = partial(smart_retries.plan, book, invoice, done, True)
    billing.pay(book, invoice, billing.method_for(book, invoice), off_session=True, plan=plan)


def _incomplete(book: Book, payload: Mapping[str, object]) -> None:
    subscription = book.find("subscriptions", str(payload["subscription"]))
    if subscription["status"] != "incomplete":
        return
    fields = {"status": "incomplete_expired", "ended_at": book.now}
    book.change("subscriptions", subscription, "customer.subscription.updated", **fields)
    invoice = book.find("invoices", subscription["latest_invoice"])
    if invoice["status"] == "open":
        billing.void(book, invoice)


def _dispute_decided(book: Book, payload: Mapping[str, object]) -> None:
    aftermath.decide_dispute(book, book.find("disputes", str(payload["dispute"])))


def _cardholder_disputes(book: Book, payload: Mapping[str, object]) -> None:
    charge = book.find("charges", str(payload["charge"]))
    if not charge["disputed"] and not charge["refunded"]:
        aftermath.dispute(book, charge)


def _pending_settled(book: Book, payload: Mapping[str, object]) -> None:
    aftermath.settle_pending(book, book.find("charges", str(payload["charge"])))


def _session_expiry(book: Book, payload: Mapping[str, object]) -> None:
    session = book.find("checkout_sessions", str(payload["session"]))
    if session["status"] == "open":
        checkout.expire(book, session)


def _session_debit(book: Book, payload: Mapping[str, object]) -> None:
    session = book.find("checkout_sessions", str(payload["session"]))
    charge = book.find("charges", str(payload["charge"]))
    checkout.settle_debit(book, session, charge, str(payload["name"]))


HAPPENINGS: dict[str, Callable[[Book, Mapping[str, object]], None]] = {
    "period_end": _period_end,
    smart_retries.HAPPENING: _stripe_retry,
    "incomplete": _incomplete,
    "dispute_decided": _dispute_decided,
    "cardholder_disputes": _cardholder_disputes,
    "pending_settled": _pending_settled,
    "session_expiry": _session_expiry,
    "session_debit": _session_debit,
}
"""The book's own happenings; all others are the world's."""
