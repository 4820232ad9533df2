"""What follows a successful charge: refunds, disputes; and pending charges that settle late."""

from tinko_pipelines.sandbox import billing, charging
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import wrong_state
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.shapes import aftermath as shapes
from tinko_pipelines.sandbox.store import Object

DAY = 86_400
DISPUTE_DAYS = 21
DISPUTE_FEE_MINOR = 1_500


def successful_charge(book: Book, intent_id: str) -> Object | None:
    """The charge that collected an intent, or None."""
    for charge in book.store.related("charges", "payment_intent", intent_id):
        if charge["status"] == "succeeded":
            return charge
    return None


def refund(book: Book, charge: Object, amount_minor: int | None, reason: str | None) -> Object:
    """Give back what is left of a charge, or a part of it."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = left if amount_minor is None else amount_minor
    if charge["status"] != "succeeded":
        raise wrong_state(f"Charge {charge['id']} has not been paid and cannot be refunded.", None)
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise wrong_state(message, "charge_disputed")
    if charge["refunded"]:
        message = f"Charge {charge['id']} has already been refunded."
        raise wrong_state(message, "charge_already_refunded")
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise wrong_state(message, None, param="amount")
    number = len(book.store.places("refunds", {"charge": charge["id"]})) + 1
    name = object_id(book.seed, "re", charge["id"], number)
    transaction = _transaction(book, name, "refund", -amount, 0, charge["currency"])
    made = shapes.refund(name, book.now, charge, amount, reason, transaction["id"])
    book.put("refunds", made)
    book.emit("refund.created", made)
    refunded = charge["amount_refunded"] + amount
    whole = refunded == charge["amount_captured"]
    book.change("charges", charge, "charge.refunded", amount_refunded=refunded, refunded=whole)
    return made


def dispute(book: Book, charge: Object) -> Object:
    """The cardholder objects to a charge; Stripe takes the money and a fee, and asks for evidence."""
    name = book.fresh_id("disputes", "du", charge["id"])
    currency, amount = charge["currency"], charge["amount"]
    transaction = _transaction(book, name, "adjustment", -amount, DISPUTE_FEE_MINOR, currency)
    made = shapes.dispute(name, book.now, charge, transaction)
    book.put("disputes", made)
    book.change("charges", charge, disputed=True)
    book.emit("charge.dispute.created", made)
    book.store.push(book.now + DISPUTE_DAYS * DAY, "dispute_decided", {"dispute": name})
    return made


def decide_dispute(book: Book, found: Object) -> None:
    """Nobody gave evidence, so the cardholder wins."""
    if found["status"] == "needs_response":
        details = {**found["evidence_details"], "past_due": True}
        book.change("disputes", found, "charge.dispute.closed", status="lost", evidence_details=details)


def settle_pending(book: Book, charge: Object) -> None:
    """A pending charge, as of a bank debit, goes through."""
    if charge["status"] != "pending":
        return
    fields = {"status": "succeeded", "paid": True, "captured": True, "amount_captured": charge["amount"]}
    book.change("charges", charge, **fields)
    intent = book.find("payment_intents", charge["payment_intent"])
    charging.collect(book, intent, charge)
    link = charging.invoice_payment_of(book, intent["id"])
    if link is not None:
        billing.settle(book, book.find("invoices", link["invoice"]))


def _transaction(book: Book, source: str, kind: str, amount: int, fee: int, currency: str) -> Object:
    name = object_id(book.seed, "txn", source)
    made = shapes.balance_transaction(name, book.now, source, kind, amount, fee, currency)
    return book.put("balance_transactions", made)
