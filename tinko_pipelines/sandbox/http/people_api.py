"""Customers and payment methods, written through the API."""

from typing import Any

from tinko_pipelines.sandbox import billing, cards, people
from tinko_pipelines.sandbox.errors import StripeRefusalError, bad_parameter, missing
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint
from tinko_pipelines.sandbox.http.params import EXPAND, Spec, merge_metadata, need
from tinko_pipelines.sandbox.http.reads import tombstone
from tinko_pipelines.sandbox.shapes import payments as shapes
from tinko_pipelines.sandbox.shapes.people import address
from tinko_pipelines.sandbox.store import Object
from tinko_pipelines.sandbox.world import decide_test_token

ADDRESS: Spec = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), "str")
CUSTOMER: Spec = {
    "email": "str",
    "name": "str",
    "phone": "str",
    "description": "str",
    "metadata": "map",
    "address": ADDRESS,
    "preferred_locales": "list",
    "invoice_settings": {"default_payment_method": "str"},
    **EXPAND,
}
BILLING: Spec = {"address": ADDRESS, "email": "str", "name": "str", "phone": "str"}


def _fields(params: dict[str, Any], before: Object | None) -> dict[str, Any]:
    names = ("email", "name", "phone", "description", "preferred_locales")
    fields = {name: (None if params[name] == "" else params[name]) for name in names if name in params}
    if "metadata" in params:
        fields["metadata"] = merge_metadata(before["metadata"] if before else {}, params["metadata"])
    if "address" in params:
        fields["address"] = {**address(None), **params["address"]}
    return fields


def create_customer(call: Call) -> Object:
    """A customer; `payment_method` is attached to him."""
    book, params = call.book, call.params
    fields = _fields(params, None)
    named = params.get("payment_method") or params.get("invoice_settings", {}).get("default_payment_method")
    if named:
        _check_attachable(call, named, "payment_method")
    natural = f"{params.get('email')}:{params.get('name')}:{sorted(fields.get('metadata', {}).items())}"
    customer = people.create_customer(book, natural, fields.pop("email", None), **fields)
    if named:
        method = cards.method_named(book, named, customer)
        people.attach(book, method, customer)
        people.remember_wallet(book, customer["id"], method["id"])
        if "invoice_settings" in params:
            people.make_default(book, customer, method["id"])
    return customer


def update_customer(call: Call) -> Object:
    """Change a customer; a new default must be attached to him."""
    book, params = call.book, call.params
    customer = _alive(call)
    default = params.get("invoice_settings", {}).get("default_payment_method")
    if default:
        method = book.find("payment_methods", default, "invoice_settings[default_payment_method]")
        if method["customer"] != customer["id"]:
            message = (
                f"The customer does not have a payment method with the ID {default}. The payment method must be "
                "attached to the customer."
            )
            raise bad_parameter(message, "invoice_settings[default_payment_method]", "resource_missing")
        settings = {**customer["invoice_settings"], "default_payment_method": default}
        people.remember_wallet(book, customer["id"], default)
        params = {**params, "invoice_settings": settings}
    fields = _fields(params, customer)
    if default:
        fields["invoice_settings"] = params["invoice_settings"]
    return book.change("customers", customer, "customer.updated", **fields)


def delete_customer(call: Call) -> Object:
    """Delete a customer and end his subscriptions."""
    customer = _alive(call)
    for subscription in call.book.store.related("subscriptions", "customer", customer["id"]):
        if subscription["status"] not in billing.ENDED:
            billing.cancel_subscription(call.book, subscription, "cancellation_requested")
    return tombstone(people.delete_customer(call.book, customer))


def _alive(call: Call) -> Object:
    customer = call.book.find("customers", call.id)
    if customer.get("deleted"):
        raise missing("customer", call.id)
    return customer


def create_method(call: Call) -> Object:
    """A payment method from a card token; card numbers are not taken, as Stripe takes them of few."""
    params = call.params
    need(params, "type")
    token = params.get("card", {}).get("token", "")
    truth = cards.token_card(token)
    if params["type"] != "card" or truth is None:
        raise bad_parameter("The sandbox makes payment methods of type card from test tokens.", "card[token]")
    method = cards.new_method(call.book, truth, None, attached=False)
    given = params.get("billing_details", {})
    billing = {**method["billing_details"], **given, "address": {**address(None), **given.get("address", {})}}
    metadata = merge_metadata({}, params.get("metadata", {}))
    return call.book.change("payment_methods", method, metadata=metadata, billing_details=billing)


def update_method(call: Call) -> Object:
    """Change a method's metadata."""
    method = call.book.find("payment_methods", call.id)
    if "metadata" not in call.params:
        return method
    metadata = merge_metadata(method["metadata"], call.params["metadata"])
    return call.book.change("payment_methods", method, metadata=metadata)


def attach_method(call: Call) -> Object:
    """Attach a method; most declining test cards cannot be attached, as documented."""
    need(call.params, "customer")
    customer = call.book.find("customers", call.params["customer"], "customer")
    if customer.get("deleted"):
        raise missing("customer", customer["id"], "customer")
    _check_attachable(call, call.id)
    method = cards.method_named(call.book, call.id, customer, None)
    people.attach(call.book, method, customer)
    people.remember_wallet(call.book, customer["id"], method["id"])
    return method


def _check_attachable(call: Call, name: str, param: str | None = None) -> None:
    found = call.book.store.get("payment_methods", name)
    truth = cards.truth_of(call.book, name) if found else cards.token_card(name)
    if truth is None:
        raise missing("PaymentMethod", name, param)
    if truth.test_token is None:
        return
    decision = decide_test_token(truth.test_token, off_session=False)
    if cards.refused_at_attach(truth, decision):
        error = shapes.card_error(decision, None, {"type": "card"})
        del error["payment_method"]
        kind, message = error.pop("type"), error.pop("message")
        raise StripeRefusalError(402, message, kind=kind, **error)


def detach_method(call: Call) -> Object:
    """Take a method from its customer."""
    return people.detach(call.book, call.book.find("payment_methods", call.id))


def endpoints() -> list[Endpoint]:
    """Writes on people."""
    create: Spec = {"payment_method": "str", **CUSTOMER}
    method: Spec = {
        "type": "str",
        "card": {"token": "str"},
        "billing_details": BILLING,
        "metadata": "map",
        **EXPAND,
    }
    changed: Spec = {"metadata": "map", **EXPAND}
    attached: Spec = {"customer": "str", **EXPAND}
    found = [
        ("customers", create_customer, create, "CustomerCreateParams", "Customer"),
        ("customers/*", update_customer, CUSTOMER, "CustomerUpdateParams", "Customer"),
        ("payment_methods", create_method, method, "PaymentMethodCreateParams", "PaymentMethod"),
        ("payment_methods/*", update_method, changed, "PaymentMethodUpdateParams", "PaymentMethod"),
        ("payment_methods/*/attach", attach_method, attached, "PaymentMethodAttachParams", "PaymentMethod"),
        ("payment_methods/*/detach", detach_method, EXPAND, "PaymentMethodDetachParams", "PaymentMethod"),
    ]
    deleted = Endpoint("DELETE", "customers/*", delete_customer, {}, "CustomerDeleteParams", "Customer")
    return [*(Endpoint("POST", *one) for one in found), deleted]
