"""One charge after another on a payment intent, until one succeeds. The only place that makes charges."""

from dataclasses import dataclass

from tinko_pipelines.sandbox import cards, handicaps, people
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import StripeRefusalError, wrong_state
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.ports import Decision
from tinko_pipelines.sandbox.shapes import aftermath
from tinko_pipelines.sandbox.shapes import payments as shapes
from tinko_pipelines.sandbox.store import Object

MOST_CONFIRMATIONS = 25
"""Stripe documents that an intent confirmed too often is cancelled, but not how often that is; ours is this."""
ACTION_REFUSED = Decision(
    outcome="declined",
    failure_code="payment_intent_action_required",
    message="The provided payment method requires customer action to complete, but `error_on_requires_action` was set.",
)
PAYABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


@dataclass(frozen=True, slots=True)
class Try:
    """How one confirmation went: the decision, and the charge if there was one."""

    decision: Decision
    charge: Object | None
    method: Object

    @property
    def refused(self) -> bool:
        """Whether the answer is a card error."""
        return self.decision.outcome == "declined"


def check_payable(intent: Object, doing: str) -> None:
    """Refuse an intent that has succeeded, is cancelled or is still under way."""
    status = intent["status"]
    if status in PAYABLE:
        return
    if status == "succeeded":
        message = f"You cannot {doing} this PaymentIntent because it has already succeeded after being previously confirmed."
    else:
        message = (
            f"You cannot {doing} this PaymentIntent because it has a status of {status}. Only a PaymentIntent "
            f"with one of the following statuses may be {doing}ed: {', '.join(PAYABLE)}."
        )
    raise wrong_state(message, "payment_intent_unexpected_state", payment_intent=intent)


def check_chargeable(book: Book, intent: Object) -> None:
    """Refuse what cannot be confirmed; where many may succeed, a paid intent can be."""
    if not (intent["status"] == "succeeded" and handicaps.mode(book) == "many_successes"):
        check_payable(intent, "confirm")


def charge(
    book: Book, intent: Object, method: Object, *, off_session: bool, error_on_action: bool = False
) -> Try:
    """Charge an intent once with a method, at the book's present moment, and tell of what came of it."""
    check_chargeable(book, intent)
    people.usable(book, method, intent["customer"])
    decision = cards.authorize(book, method["id"], intent["amount"], intent["currency"], off_session)
    paid = intent["status"] == "succeeded"
    if decision.outcome == "requires_action":
        if paid:
            return Try(ACTION_REFUSED, None, method)
        if not error_on_action:
            return _needs_action(book, intent, method, decision)
        return _failed(book, intent, Try(ACTION_REFUSED, None, method))
    number = len(book.store.places("charges", {"payment_intent": intent["id"]})) + 1
    name = object_id(book.seed, "ch", intent["id"], number)
    made = shapes.charge(name, book.now, intent, method, decision)
    if decision.outcome == "declined":
        book.put("charges", made)
        book.emit("charge.failed", made)
        if paid:
            return Try(decision, made, method)
        return _failed(book, intent, Try(decision, made, method))
    if method["customer"] is None:
        _keep_or_spend(book, intent, method)
    if decision.outcome == "processing":
        book.put("charges", made)
        book.emit("charge.pending", made)
        if paid:
            return Try(decision, made, method)
        fields = {"status": "processing", "latest_charge": name, "payment_method": method["id"]}
        book.change("payment_intents", intent, "payment_intent.processing", **fields)
        return Try(decision, made, method)
    collect(book, intent, made)
    if cards.special_name(cards.truth_of(book, method["id"]).test_token or "") in cards.DISPUTED:
        book.store.push(book.now, "cardholder_disputes", {"charge": name})
    return Try(decision, made, method)


def collect(book: Book, intent: Object, made: Object) -> None:
    """Book a charge as successful; the money goes on the balance."""
    made["balance_transaction"] = _onto_balance(book, made)
    book.put("charges", made)
    book.emit("charge.succeeded", made)
    book.change(
        "payment_intents",
        intent,
        "payment_intent.succeeded",
        status="succeeded",
        amount_received=intent["amount"],
        latest_charge=made["id"],
        payment_method=made["payment_method"],
        last_payment_error=None,
        next_action=None,
    )


def come_back(book: Book, charge: Object) -> None:
    """A charge that was under way has failed after all."""
    intent = book.find("payment_intents", charge["payment_intent"])
    method = book.find("payment_methods", charge["payment_method"])
    message = "The customer's account has insufficient funds to cover this payment."
    decision = Decision("declined", "insufficient_funds", outcome_type="issuer_declined", message=message)
    failed = {"status": "failed", "failure_code": decision.failure_code, "failure_message": message}
    book.change("charges", charge, "charge.failed", **failed)
    _failed(book, intent, Try(decision, charge, method))


def cancel(book: Book, intent: Object, reason: str | None) -> Object:
    """Give an intent up for good."""
    check_payable(intent, "cancel")
    return book.change(
        "payment_intents",
        intent,
        "payment_intent.canceled",
        status="canceled",
        canceled_at=book.now,
        cancellation_reason=reason,
        next_action=None,
    )


def as_refusal(intent: Object, tried: Try) -> StripeRefusalError:
    """The 402 that answers a declined confirmation."""
    error = shapes.card_error(tried.decision, tried.charge["id"] if tried.charge else None, tried.method)
    kind, message = error.pop("type"), error.pop("message", "Your card was declined.")
    return StripeRefusalError(402, message, kind=kind, payment_intent=intent, **error)


def invoice_payment_of(book: Book, intent_id: str) -> Object | None:
    """The link to the invoice an intent collects; None outside billing."""
    found = book.store.related("invoice_payments", "payment.payment_intent", intent_id)
    return found[-1] if found else None


def _needs_action(book: Book, intent: Object, method: Object, decision: Decision) -> Try:
    url = f"https://hooks.stripe.com/redirect/authenticate/{intent['id']}"
    action = {"redirect_to_url": {"return_url": None, "url": url}, "type": "redirect_to_url"}
    fields = {"status": "requires_action", "next_action": action, "payment_method": method["id"]}
    book.change("payment_intents", intent, "payment_intent.requires_action", **fields)
    return Try(decision, None, method)


def _failed(book: Book, intent: Object, tried: Try) -> Try:
    charge_id = tried.charge["id"] if tried.charge else None
    book.change(
        "payment_intents",
        intent,
        status="requires_payment_method",
        latest_charge=charge_id or intent["latest_charge"],
        payment_method=None,
        next_action=None,
        last_payment_error=shapes.card_error(tried.decision, charge_id, tried.method),
    )
    book.put("payment_intents", intent)
    book.emit("payment_intent.payment_failed", intent)
    tries = len(book.store.places("charges", {"payment_intent": intent["id"]}))
    if tries >= MOST_CONFIRMATIONS and invoice_payment_of(book, intent["id"]) is None:
        cancel(book, intent, "automatic")
    return tried


def _keep_or_spend(book: Book, intent: Object, method: Object) -> None:
    """A method that paid unattached is attached if the customer agreed to that, and else used up."""
    if intent["customer"] and intent["setup_future_usage"]:
        people.attach(book, method, book.find("customers", intent["customer"]))
    else:
        cards.mark_spent(book, method["id"])


def _onto_balance(book: Book, made: Object) -> str:
    amount: int = made["amount"]
    name = object_id(book.seed, "txn", made["id"])
    fee = min(amount, round(amount * 0.029) + 30)
    made_transaction = aftermath.balance_transaction(
        name, book.now, made["id"], "charge", amount, fee, made["currency"]
    )
    book.put("balance_transactions", made_transaction)
    return name
