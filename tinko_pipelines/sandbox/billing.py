"""Subscriptions and their invoices: billing a period, collecting it, voiding, ending."""

from collections.abc import Callable
from typing import Any

from tinko_pipelines.sandbox import charging, handicaps, people, smart_retries
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.charging import Try
from tinko_pipelines.sandbox.errors import bad_parameter, wrong_state
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.shapes import billing as shapes
from tinko_pipelines.sandbox.shapes import payments
from tinko_pipelines.sandbox.shapes.billing import PERIOD_DAYS
from tinko_pipelines.sandbox.shapes.invoices import invoice as new_invoice
from tinko_pipelines.sandbox.store import Object

DAY = 86_400
ENDED = ("canceled", "incomplete_expired")
NO_METHOD = (
    "This customer has no attached payment source or default payment method. Please consider adding a default "
    "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting."
)


def create_subscription(
    book: Book, customer: Object, price: Object, method: str | None, quantity: int = 1, **fields: Any
) -> Object:
    """A subscription that is not billed yet; charged to `method`, else to the customer's default."""
    if price["recurring"] is None:
        raise bad_parameter(
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`.",
            "items[0][price]",
        )
    name = book.fresh_id("subscriptions", "sub", customer["id"], price["id"])
    item_id = object_id(book.seed, "si", name)
    item = shapes.subscription_item(item_id, book.now, name, price, quantity)
    made = shapes.subscription(name, book.now, customer["id"], item, method, **fields)
    book.put("subscriptions", made)
    if customer["currency"] is None:
        book.change("customers", customer, currency=made["currency"])
    book.emit("customer.subscription.created", made)
    return made


def bill(book: Book, subscription: Object, reason: str) -> Object:
    """Open the next period and its invoice, finalized, with an intent that nobody has confirmed."""
    customer = book.find("customers", subscription["customer"])
    _next_period(book, subscription)
    number = int(customer["next_invoice_sequence"])
    book.change("customers", customer, next_invoice_sequence=number + 1)
    name = book.fresh_id("invoices", "in", subscription["id"], number)
    label = f"{customer['invoice_prefix']}-{number:04d}"
    invoice = new_invoice(name, book.now, customer, subscription, label, reason)
    book.put("invoices", invoice)
    amount, currency = invoice["amount_due"], invoice["currency"]
    intent_id = book.fresh_id("payment_intents", "pi", name)
    intent = payments.payment_intent(
        intent_id,
        book.now,
        amount,
        currency,
        customer["id"],
        description="Subscription update" if reason == "subscription_cycle" else "Subscription creation",
        setup_future_usage="off_session",
    )
    book.put("payment_intents", intent)
    link_id = book.fresh_id("invoice_payments", "inpay", name)
    link = shapes.invoice_payment(link_id, book.now, name, intent_id, amount, currency)
    book.put("invoice_payments", link)
    book.change("subscriptions", subscription, latest_invoice=name)
    book.emit("payment_intent.created", intent)
    book.emit("invoice.created", invoice)
    book.emit("invoice.finalized", invoice)
    return invoice


def _next_period(book: Book, subscription: Object) -> None:
    for item in subscription["items"]["data"]:
        recurring = item["price"]["recurring"]
        days = PERIOD_DAYS[recurring["interval"]] * recurring["interval_count"]
        item["current_period_start"] = book.now
        item["current_period_end"] = book.now + days * DAY
    book.put("subscriptions", subscription)


def method_for(book: Book, invoice: Object) -> Object:
    """The method Stripe would charge: the invoice's own, the subscription's, the customer's."""
    subscription = subscription_of(book, invoice)
    customer = book.find("customers", invoice["customer"])
    found = invoice["default_payment_method"] or (subscription or {}).get("default_payment_method")
    found = found or people.default_of(customer)
    if found is None:
        raise bad_parameter(NO_METHOD, "payment_method", "resource_missing")
    return book.find("payment_methods", found)


def has_method(book: Book, invoice: Object) -> bool:
    """Whether there is anything to charge."""
    subscription = subscription_of(book, invoice) or {}
    customer = book.find("customers", invoice["customer"])
    return bool(
        invoice["default_payment_method"]
        or subscription.get("default_payment_method")
        or people.default_of(customer)
    )


def subscription_of(book: Book, invoice: Object) -> Object | None:
    """The subscription an invoice bills, or None."""
    parent = invoice["parent"]
    return book.find("subscriptions", parent["subscription_details"]["subscription"]) if parent else None


def intent_of(book: Book, invoice: Object) -> Object:
    """The intent that collects an invoice."""
    links = book.store.related("invoice_payments", "invoice", invoice["id"])
    return book.find("payment_intents", links[-1]["payment"]["payment_intent"])


def pay(
    book: Book,
    invoice: Object,
    method: Object,
    *,
    off_session: bool,
    plan: Callable[[Try], None] | None = None,
) -> Try:
    """Try to collect an open invoice once; its intent, its subscription and its customer follow.

    `plan`, given for Stripe's own attempts, decides about the next one before anybody is told of a failure.
    """
    check_collectible(book, invoice)
    paid = invoice["status"] == "paid"
    tried = charging.charge(book, intent_of(book, invoice), method, off_session=off_session)
    if paid and tried.decision.outcome != "approved":
        return tried
    counts = plan is not None or not invoice["attempted"]
    book.change(
        "invoices", invoice, attempted=True, attempt_count=invoice["attempt_count"] + (1 if counts else 0)
    )
    if plan is not None and tried.refused:
        plan(tried)
    follow(book, invoice, tried)
    return tried


def check_open(invoice: Object) -> None:
    """Refuse an invoice that is not owed."""
    if invoice["status"] == "paid":
        raise wrong_state("Invoice is already paid", None)
    if invoice["status"] != "open":
        raise wrong_state(f"You can only pay an open invoice; this one is {invoice['status']}.", None)


def check_collectible(book: Book, invoice: Object) -> None:
    """Refuse an invoice that cannot be charged; where many charges may succeed, a paid one can be."""
    if not (invoice["status"] == "paid" and handicaps.mode(book) == "many_successes"):
        check_open(invoice)


def follow(book: Book, invoice: Object, tried: Try) -> None:
    """Bring an invoice in line with what became of a confirmation of its intent."""
    if tried.decision.outcome == "approved":
        settle(book, invoice)
    elif tried.refused:
        book.put("invoices", invoice)
        book.emit("invoice.payment_failed", invoice)
        _standing(book, invoice, "past_due")
    elif tried.decision.outcome == "requires_action":
        book.emit("invoice.payment_action_required", invoice)
        _standing(book, invoice, "past_due")


def settle(book: Book, invoice: Object, *, out_of_band: bool = False) -> None:
    """Mark an invoice as paid."""
    amount = invoice["amount_due"]
    link = book.store.related("invoice_payments", "invoice", invoice["id"])[-1]
    if out_of_band:
        charging.cancel(book, intent_of(book, invoice), "automatic")
        book.change("invoice_payments", link, status="canceled")
    else:
        paid = {"status": "paid", "amount_paid": amount}
        transitions = {**link["status_transitions"], "paid_at": book.now}
        book.change("invoice_payments", link, "invoice_payment.paid", **paid, status_transitions=transitions)
    book.change(
        "invoices",
        invoice,
        "invoice.paid",
        status="paid",
        amount_paid=amount,
        amount_remaining=0,
        next_payment_attempt=None,
        status_transitions={**invoice["status_transitions"], "paid_at": book.now},
    )
    book.emit("invoice.payment_succeeded", invoice)
    _standing(book, invoice, "active")


def void(book: Book, invoice: Object) -> None:
    """Void an open invoice; its intent can no longer be paid."""
    check_open(invoice)
    intent = intent_of(book, invoice)
    if intent["status"] in charging.PAYABLE:
        charging.cancel(book, intent, "void_invoice")
    link = book.store.related("invoice_payments", "invoice", invoice["id"])[-1]
    transitions = {**link["status_transitions"], "canceled_at": book.now}
    book.change("invoice_payments", link, status="canceled", status_transitions=transitions)
    transitions = {**invoice["status_transitions"], "voided_at": book.now}
    fields: dict[str, Any] = {"status": "void", "next_payment_attempt": None}
    book.change("invoices", invoice, "invoice.voided", **fields, status_transitions=transitions)
    _standing(book, invoice, "active")


def _standing(book: Book, invoice: Object, status: str) -> None:
    """A subscription stands as its latest invoice does; and so does the customer."""
    subscription = subscription_of(book, invoice)
    if subscription is None or subscription["latest_invoice"] != invoice["id"]:
        return
    if subscription["status"] in ENDED or (subscription["status"] == "incomplete" and status == "past_due"):
        return
    book.change("subscriptions", subscription, "customer.subscription.updated", status=status)
    customer = book.find("customers", invoice["customer"])
    book.change("customers", customer, "customer.updated", delinquent=status == "past_due")


def cancel_subscription(book: Book, subscription: Object, reason: str, **details: str | None) -> None:
    """End a subscription now; its open invoices stay open, but Stripe itself collects them no more."""
    book.change(
        "subscriptions",
        subscription,
        status="canceled",
        canceled_at=book.now,
        ended_at=book.now,
        cancellation_details={"comment": None, "feedback": None, "reason": reason, **details},
    )
    book.emit("customer.subscription.deleted", subscription)
    path = "parent.subscription_details.subscription"
    for invoice in book.store.related("invoices", path, subscription["id"]):
        if invoice["status"] == "open":
            smart_retries.stop(book, invoice)
