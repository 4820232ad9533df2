"""Payment intents and refunds, written through the API."""

from typing import Any

from tinko_pipelines.sandbox import aftermath, billing, cards, charging, checkout, people
from tinko_pipelines.sandbox.errors import bad_parameter, wrong_state
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint
from tinko_pipelines.sandbox.http.params import EXPAND, Spec, merge_metadata, need
from tinko_pipelines.sandbox.shapes import payments as shapes
from tinko_pipelines.sandbox.store import Object

SAME: Spec = {
    "description": "str",
    "receipt_email": "str",
    "setup_future_usage": "off_session|on_session",
    "statement_descriptor": "str",
    "statement_descriptor_suffix": "str",
    "transfer_group": "str",
}
"""Parameters of create and update that are fields of the intent under the same name."""
CONFIRM: Spec = {
    "payment_method": "str",
    "off_session": "off_session",
    "error_on_requires_action": "bool",
    "return_url": "str",
    "setup_future_usage": "off_session|on_session",
    "receipt_email": "str",
    "use_stripe_sdk": "bool",
    "allowed_payment_method_types": "list",
}
CREATE: Spec = {
    "amount": "int",
    "currency": "str",
    "customer": "str",
    "metadata": "map",
    "confirm": "bool",
    "confirmation_method": "automatic|manual",
    "capture_method": "automatic|automatic_async",
    "automatic_payment_methods": {"enabled": "bool", "allow_redirects": "always|never"},
    **SAME,
    **CONFIRM,
}
UPDATE: Spec = {
    "amount": "int",
    "currency": "str",
    "customer": "str",
    "metadata": "map",
    "payment_method": "str",
    "allowed_payment_method_types": "list",
    **SAME,
}
REASONS = "abandoned|duplicate|fraudulent|requested_by_customer"
REFUND: Spec = {
    "charge": "str",
    "payment_intent": "str",
    "amount": "int",
    "reason": "duplicate|fraudulent|requested_by_customer",
    "metadata": "map",
}


def check_amount(amount: int) -> None:
    """Refuse an amount that Stripe would not take."""
    if amount < 1:
        raise bad_parameter("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > 99_999_999:
        message = "Amount must be no more than $999,999.99"
        raise bad_parameter(message, "amount", "amount_too_large")


def create(call: Call) -> Object:
    """A new intent, confirmed at once when asked to."""
    book, params = call.book, call.params
    need(params, "amount", "currency")
    check_amount(params["amount"])
    customer = book.find("customers", params["customer"], "customer") if params.get("customer") else None
    if params.get("confirm") and not params.get("payment_method"):
        raise _no_method()
    fields = {name: params[name] for name in SAME if name in params}
    for name in ("confirmation_method", "capture_method", "allowed_payment_method_types"):
        if name in params:
            fields[name] = params[name]
    if "automatic_payment_methods" in params:
        fields["automatic_payment_methods"] = {
            "allow_redirects": "always",
            **params["automatic_payment_methods"],
        }
    currency = str(params["currency"]).lower()
    owner = customer["id"] if customer else None
    name = book.fresh_id("payment_intents", "pi", owner, params["amount"], currency, _natural(params))
    metadata = merge_metadata({}, params.get("metadata", {}))
    intent = shapes.payment_intent(
        name, book.now, params["amount"], currency, owner, metadata=metadata, **fields
    )
    method = None
    if params.get("payment_method"):
        method = cards.method_named(book, params["payment_method"], customer)
        people.usable(book, method, owner)
        intent.update(payment_method=method["id"], status="requires_confirmation")
    book.put("payment_intents", intent)
    book.emit("payment_intent.created", intent)
    return _confirmed(call, intent, method) if params.get("confirm") and method else intent


def _natural(params: dict[str, Any]) -> str:
    metadata = sorted((params.get("metadata") or {}).items())
    return f"{params.get('description')}:{metadata}:{params.get('payment_method')}"


def update(call: Call) -> Object:
    """Change an intent that is not settled; metadata may change always."""
    book, params = call.book, call.params
    intent = book.find("payment_intents", call.id)
    fields = {name: value for name, value in params.items() if name not in ("expand", "metadata")}
    if fields and intent["status"] not in charging.PAYABLE:
        charging.check_payable(intent, "update")
    if "amount" in fields:
        check_amount(fields["amount"])
    if "customer" in fields:
        book.find("customers", fields["customer"], "customer")
    if "payment_method" in fields:
        owner = fields.get("customer", intent["customer"])
        customer = book.find("customers", owner, "customer") if owner else None
        method = cards.method_named(book, fields["payment_method"], customer)
        people.usable(book, method, owner)
        fields |= {"payment_method": method["id"], "status": "requires_confirmation"}
    if "metadata" in params:
        fields["metadata"] = merge_metadata(intent["metadata"], params["metadata"])
    return book.change("payment_intents", intent, **fields)


def confirm(call: Call) -> Object:
    """Charge the intent once."""
    book, params = call.book, call.params
    intent = book.find("payment_intents", call.id)
    if checkout.of_intent(book, intent) is not None:
        message = "You cannot confirm this PaymentIntent because it was created by a Checkout Session."
        raise wrong_state(message, "payment_intent_unexpected_state", payment_intent=intent)
    charging.check_chargeable(book, intent)
    named = params.get("payment_method") or intent["payment_method"]
    if named is None:
        raise _no_method()
    customer = book.find("customers", intent["customer"]) if intent["customer"] else None
    method = cards.method_named(book, named, customer)
    fields = {name: params[name] for name in ("setup_future_usage", "receipt_email") if name in params}
    book.change("payment_intents", intent, **fields)
    return _confirmed(call, intent, method)


def _confirmed(call: Call, intent: Object, method: Object) -> Object:
    book, params = call.book, call.params
    tried = charging.charge(
        book,
        intent,
        method,
        off_session=bool(params.get("off_session", False)),
        error_on_action=bool(params.get("error_on_requires_action", False)),
    )
    link = charging.invoice_payment_of(book, intent["id"])
    if link is not None:
        billing.follow(book, book.find("invoices", link["invoice"]), tried)
    if tried.refused:
        raise charging.as_refusal(intent, tried)
    return intent


def _no_method() -> Exception:
    message = (
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
        "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
        "payment method or ConfirmationToken."
    )
    return bad_parameter(message, "payment_method", "payment_intent_unexpected_state")


def cancel(call: Call) -> Object:
    """Give an intent up; one that a page has made goes only with its page."""
    intent = call.book.find("payment_intents", call.id)
    if intent["status"] != "requires_capture" and checkout.of_intent(call.book, intent) is not None:
        message = "You cannot cancel this PaymentIntent because it was created by a Checkout Session. Expire the Session instead."
        raise wrong_state(message, "payment_intent_unexpected_state", payment_intent=intent)
    if charging.invoice_payment_of(call.book, intent["id"]) is not None:
        message = "You cannot cancel this PaymentIntent because it was created by an Invoice. Void the Invoice instead."
        raise wrong_state(message, "payment_intent_unexpected_state", payment_intent=intent)
    return charging.cancel(call.book, intent, call.params.get("cancellation_reason"))


def create_refund(call: Call) -> Object:
    """Give back a charge, or the one that collected an intent."""
    book, params = call.book, call.params
    if params.get("charge"):
        charge = book.find("charges", params["charge"], "charge")
    else:
        need(params, "payment_intent")
        intent = book.find("payment_intents", params["payment_intent"], "payment_intent")
        found = aftermath.successful_charge(book, intent["id"])
        if found is None:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise bad_parameter(message, "payment_intent", None)
        charge = found
    if "amount" in params:
        check_amount(params["amount"])
    made = aftermath.refund(book, charge, params.get("amount"), params.get("reason"))
    return book.change("refunds", made, metadata=merge_metadata({}, params.get("metadata", {})))


ENDPOINTS = (
    ("payment_intents", create, {**CREATE, **EXPAND}, "PaymentIntentCreateParams", "PaymentIntent"),
    ("payment_intents/*", update, {**UPDATE, **EXPAND}, "PaymentIntentUpdateParams", "PaymentIntent"),
    (
        "payment_intents/*/confirm",
        confirm,
        {**CONFIRM, **EXPAND},
        "PaymentIntentConfirmParams",
        "PaymentIntent",
    ),
    (
        "payment_intents/*/cancel",
        cancel,
        {"cancellation_reason": REASONS, **EXPAND},
        "PaymentIntentCancelParams",
        "PaymentIntent",
    ),
    ("refunds", create_refund, {**REFUND, **EXPAND}, "RefundCreateParams", "Refund"),
)


def endpoints() -> list[Endpoint]:
    """All of them are POST."""
    return [Endpoint("POST", *one) for one in ENDPOINTS]
