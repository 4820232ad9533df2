"""Products, prices, subscriptions and invoices, written through the API."""

from typing import Any

from tinko_pipelines.sandbox import billing, charging, people, renewals, smart_retries
from tinko_pipelines.sandbox.errors import StripeRefusalError, bad_parameter
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint
from tinko_pipelines.sandbox.http.params import EXPAND, Spec, merge_metadata, need
from tinko_pipelines.sandbox.shapes import billing as shapes
from tinko_pipelines.sandbox.store import Object

INTERVALS = "day|week|month|year"
PRICE: Spec = {
    "currency": "str",
    "unit_amount": "int",
    "product": "str",
    "product_data": {"name": "str"},
    "recurring": {"interval": INTERVALS, "interval_count": "int"},
    "nickname": "str",
    "metadata": "map",
    **EXPAND,
}
BEHAVIOR = "allow_incomplete|default_incomplete|error_if_incomplete"
SUBSCRIBE: Spec = {
    "customer": "str",
    "items": [{"price": "str", "quantity": "int"}],
    "default_payment_method": "str",
    "payment_behavior": BEHAVIOR,
    "off_session": "bool",
    "metadata": "map",
    "description": "str",
    **EXPAND,
}
SUBSCRIPTION: Spec = {
    "default_payment_method": "str",
    "cancel_at_period_end": "bool",
    "metadata": "map",
    "description": "str",
    **EXPAND,
}
PAY: Spec = {"off_session": "bool", "payment_method": "str", "paid_out_of_band": "bool", **EXPAND}
INVOICE: Spec = {
    "auto_advance": "bool",
    "description": "str",
    "metadata": "map",
    "default_payment_method": "str",
}


def create_product(call: Call) -> Object:
    """Something to sell."""
    need(call.params, "name")
    name = call.params["name"]
    made = shapes.product(call.book.fresh_id("products", "prod", name), call.book.now, name)
    made["metadata"] = merge_metadata({}, call.params.get("metadata", {}))
    return call.book.put("products", made)


def create_price(call: Call) -> Object:
    """A price of a product, which is made along with it when only named."""
    book, params = call.book, call.params
    need(params, "currency", "unit_amount")
    if "product" in params:
        product = book.find("products", params["product"], "product")["id"]
    else:
        name = params.get("product_data", {}).get("name", "")
        need({"product": name}, "product")
        product = book.fresh_id("products", "prod", name)
        book.put("products", shapes.product(product, book.now, name))
    recurring = params.get("recurring", {})
    made = shapes.price(
        book.fresh_id("prices", "price", product, params["currency"], params["unit_amount"], str(recurring)),
        book.now,
        product,
        params["unit_amount"],
        params["currency"].lower(),
        recurring.get("interval"),
        recurring.get("interval_count", 1),
        nickname=params.get("nickname"),
        metadata=merge_metadata({}, params.get("metadata", {})),
    )
    book.put("prices", made)
    book.emit("price.created", made)
    return made


def create_subscription(call: Call) -> Object:
    """A subscription of one price, billed at once and then by period."""
    book, params = call.book, call.params
    need(params, "customer", "items")
    customer = book.find("customers", params["customer"], "customer")
    if len(params["items"]) != 1:
        raise bad_parameter("The sandbox bills subscriptions of exactly one item.", "items")
    item = params["items"][0]
    need(item, "price")
    price = book.find("prices", item["price"], "items[0][price]")
    method = params.get("default_payment_method") or None
    if method is not None:
        people.usable(book, book.find("payment_methods", method, "default_payment_method"), customer["id"])
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior != "default_incomplete" and not (method or people.default_of(customer)):
        raise bad_parameter(billing.NO_METHOD, "default_payment_method", "resource_missing")
    fields = {
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "description": params.get("description"),
    }
    quantity = item.get("quantity", 1)
    made = billing.create_subscription(book, customer, price, method, quantity, status="incomplete", **fields)
    if behavior == "default_incomplete":
        billing.bill(book, made, "subscription_create")
    else:
        _, tried = renewals.renew(book, made, "subscription_create", stripe_retries=False)
        if tried is not None and tried.refused and behavior == "error_if_incomplete":
            billing.cancel_subscription(book, made, "payment_failed")
            intent = book.find("payment_intents", str(tried.charge and tried.charge["payment_intent"]))
            raise charging.as_refusal(intent, tried)
    if made["status"] == "incomplete":
        at = book.now + renewals.INCOMPLETE_SECONDS
        book.store.push(at, "incomplete", {"subscription": made["id"]})
    renewals.schedule_renewal(book, made)
    return made


def update_subscription(call: Call) -> Object:
    """Change a subscription."""
    book, params = call.book, call.params
    found = book.find("subscriptions", call.id)
    fields: dict[str, Any] = {name: value for name, value in params.items() if name != "expand"}
    if "metadata" in fields:
        fields["metadata"] = merge_metadata(found["metadata"], fields["metadata"])
    if fields.get("default_payment_method"):
        method = book.find("payment_methods", fields["default_payment_method"], "default_payment_method")
        people.usable(book, method, found["customer"])
    return book.change("subscriptions", found, "customer.subscription.updated", **fields)


def cancel_subscription(call: Call) -> Object:
    """End a subscription now."""
    found = call.book.find("subscriptions", call.id)
    if found["status"] in billing.ENDED:
        raise StripeRefusalError(
            404,
            f"No such subscription: '{call.id}'",
            code="resource_missing",
            param="id",
        )
    details = call.params.get("cancellation_details", {})
    billing.cancel_subscription(call.book, found, "cancellation_requested", **details)
    return found


def pay_invoice(call: Call) -> Object:
    """Charge an open invoice once."""
    book, params = call.book, call.params
    invoice = book.find("invoices", call.id)
    billing.check_collectible(book, invoice)
    if params.get("paid_out_of_band"):
        billing.check_open(invoice)
        billing.settle(book, invoice, out_of_band=True)
        return invoice
    if params.get("payment_method"):
        method = book.find("payment_methods", params["payment_method"], "payment_method")
        people.usable(book, method, invoice["customer"])
    else:
        method = billing.method_for(book, invoice)
    tried = billing.pay(book, invoice, method, off_session=bool(params.get("off_session", True)))
    intent = billing.intent_of(book, invoice)
    if tried.refused:
        raise charging.as_refusal(intent, tried)
    if tried.decision.outcome == "requires_action":
        message = (
            "This payment requires additional user action before it can be completed successfully. Payment can "
            "be completed using the PaymentIntent associated with the invoice."
        )
        code = "invoice_payment_intent_requires_action"
        raise StripeRefusalError(402, message, kind="card_error", code=code, payment_intent=intent)
    return invoice


def update_invoice(call: Call) -> Object:
    """Change an invoice; with `auto_advance` off Stripe tries it no more."""
    book, params = call.book, call.params
    invoice = book.find("invoices", call.id)
    fields = {name: value for name, value in params.items() if name != "expand"}
    if "metadata" in fields:
        fields["metadata"] = merge_metadata(invoice["metadata"] or {}, fields["metadata"])
    if fields.get("default_payment_method"):
        method = book.find("payment_methods", fields["default_payment_method"], "default_payment_method")
        people.usable(book, method, invoice["customer"])
    if fields.get("auto_advance") is False:
        smart_retries.stop(book, invoice)
    return book.change("invoices", invoice, "invoice.updated", **fields)


def void_invoice(call: Call) -> Object:
    """Void an open invoice."""
    invoice = call.book.find("invoices", call.id)
    billing.void(call.book, invoice)
    return invoice


def endpoints() -> list[Endpoint]:
    """Writes on billing."""
    product: Spec = {"name": "str", "metadata": "map", **EXPAND}
    feedback = "customer_service|low_quality|missing_features|other|switched_service|too_complex|too_expensive|unused"
    cancelled: Spec = {"cancellation_details": {"comment": "str", "feedback": feedback}, **EXPAND}
    found = [
        ("products", create_product, product, "ProductCreateParams", "Product"),
        ("prices", create_price, PRICE, "PriceCreateParams", "Price"),
        ("subscriptions", create_subscription, SUBSCRIBE, "SubscriptionCreateParams", "Subscription"),
        ("subscriptions/*", update_subscription, SUBSCRIPTION, "SubscriptionUpdateParams", "Subscription"),
        ("invoices/*/pay", pay_invoice, PAY, "InvoicePayParams", "Invoice"),
        ("invoices/*", update_invoice, {**INVOICE, **EXPAND}, "InvoiceUpdateParams", "Invoice"),
        ("invoices/*/void", void_invoice, EXPAND, "InvoiceVoidInvoiceParams", "Invoice"),
    ]
    ended = Endpoint(
        "DELETE",
        "subscriptions/*",
        cancel_subscription,
        cancelled,
        "SubscriptionCancelParams",
        "Subscription",
    )
    return [*(Endpoint("POST", *one) for one in found), ended]
