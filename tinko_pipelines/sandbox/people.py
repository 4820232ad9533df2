"""Customers and the methods they pay with: attaching, defaults, deleting."""

from typing import Any

from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.cards import Script, mark_spent, new_method
from tinko_pipelines.sandbox.errors import wrong_state
from tinko_pipelines.sandbox.ports import CardTruth
from tinko_pipelines.sandbox.shapes import people as shapes
from tinko_pipelines.sandbox.store import Object

SPENT = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
    "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
    "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
)


def create_customer(book: Book, natural_name: str, email: str | None, **fields: Any) -> Object:
    """A new customer; the id belongs to `natural_name`."""
    customer_id = book.fresh_id("customers", "cus", natural_name)
    customer = book.put("customers", shapes.customer(customer_id, book.now, email, **fields))
    book.emit("customer.created", customer)
    return customer


def add_card(book: Book, customer: Object, truth: CardTruth, script: Script | None = None) -> Object:
    """Attach a new card and make it the default of the customer and his subscriptions."""
    method = new_method(book, truth, customer, attached=True, script=script)
    book.emit("payment_method.attached", method)
    make_default(book, customer, method["id"])
    return method


def attach(book: Book, method: Object, customer: Object) -> Object:
    """Attach an existing method; Stripe refuses one that was used up or belongs to somebody else."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None:
        raise wrong_state(
            "The payment method you provided has already been attached to a customer.",
            "payment_method_unexpected_state",
        )
    if book.find_card(method["id"])["spent"]:
        raise wrong_state(SPENT, None, param="payment_method")
    return book.change("payment_methods", method, "payment_method.attached", customer=customer["id"])


def detach(book: Book, method: Object, *, spend: bool = True) -> Object:
    """Take a method from its customer, and from wherever it was the default; for good when `spend`."""
    owner = method["customer"]
    if owner is None:
        raise wrong_state(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            "payment_method_unexpected_state",
        )
    if spend:
        mark_spent(book, method["id"])
    book.change("payment_methods", method, "payment_method.detached", customer=None)
    customer = book.find("customers", owner)
    if default_of(customer) == method["id"]:
        _set_default(book, customer, None)
    for subscription in book.store.related("subscriptions", "customer", owner):
        if subscription["default_payment_method"] == method["id"]:
            book.change(
                "subscriptions", subscription, "customer.subscription.updated", default_payment_method=None
            )
    return method


def default_of(customer: Object) -> str | None:
    """The customer's default method for invoices."""
    found: str | None = customer["invoice_settings"]["default_payment_method"]
    return found


def make_default(book: Book, customer: Object, method_id: str) -> None:
    """Charge this method from now on: the customer's default and that of his running subscriptions."""
    _set_default(book, customer, method_id)
    remember_wallet(book, customer["id"], method_id)
    for subscription in book.store.related("subscriptions", "customer", customer["id"]):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            event = "customer.subscription.updated"
            book.change("subscriptions", subscription, event, default_payment_method=method_id)


def _set_default(book: Book, customer: Object, method_id: str | None) -> None:
    settings = {**customer["invoice_settings"], "default_payment_method": method_id}
    book.change("customers", customer, "customer.updated", invoice_settings=settings)


def remember_wallet(book: Book, customer_id: str, method_id: str) -> None:
    """Note which card the customer has at hand, whether Stripe keeps it or not."""
    book.put("wallets", {"id": customer_id, "method": method_id})


def wallet_of(book: Book, customer_id: str) -> str | None:
    """The method of the card that the customer has at hand."""
    found = book.store.get("wallets", customer_id)
    return found["method"] if found else None


def usable(book: Book, method: Object, customer_id: str | None) -> None:
    """Refuse a method that Stripe would not charge for this customer."""
    if method["customer"] is None:
        if book.find_card(method["id"])["spent"]:
            raise wrong_state(SPENT, None, param="payment_method")
    elif method["customer"] != customer_id:
        message = (
            "The provided PaymentMethod cannot be used: it belongs to another Customer. "
            "Supply the customer it is attached to."
        )
        raise wrong_state(message, None, param="payment_method")


def delete_customer(book: Book, customer: Object) -> Object:
    """Delete for good; what is left is an id that says so."""
    for method in book.store.related("payment_methods", "customer", customer["id"]):
        mark_spent(book, method["id"])
        book.change("payment_methods", method, customer=None)
    book.emit("customer.deleted", customer)
    customer["deleted"] = True
    return book.put("customers", customer)
