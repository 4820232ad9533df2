"""Checkout and portal sessions, webhook endpoints, test clocks and the account, written through the API."""

from typing import Any
from urllib.parse import urlsplit

from tinko_pipelines.sandbox import checkout
from tinko_pipelines.sandbox.book import DAY
from tinko_pipelines.sandbox.errors import bad_parameter
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint
from tinko_pipelines.sandbox.http.params import EXPAND, Spec, merge_metadata, need
from tinko_pipelines.sandbox.http.payments_api import check_amount
from tinko_pipelines.sandbox.http.reads import tombstone
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.shapes import doors as shapes
from tinko_pipelines.sandbox.store import Object

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PRICE_DATA: Spec = {
    "currency": "str",
    "unit_amount": "int",
    "product": "str",
    "product_data": {"name": "str", "description": "str"},
}
INTENT_DATA: Spec = {
    "description": "str",
    "metadata": "map",
    "receipt_email": "str",
    "setup_future_usage": "off_session|on_session",
    "statement_descriptor": "str",
    "statement_descriptor_suffix": "str",
}
SESSION: Spec = {
    "mode": "payment|setup",
    "line_items": [{"price": "str", "quantity": "int", "price_data": PRICE_DATA}],
    "payment_intent_data": INTENT_DATA,
    "customer": "str",
    "customer_email": "str",
    "client_reference_id": "str",
    "currency": "str",
    "success_url": "str",
    "cancel_url": "str",
    "expires_at": "int",
    "locale": "str",
    "metadata": "map",
    "allowed_payment_method_types": "list",
    "adaptive_pricing": {"enabled": "bool"},
    **EXPAND,
}
FLOW: Spec = {
    "type": "payment_method_update|subscription_cancel",
    "after_completion": {"type": "redirect|portal_homepage", "redirect": {"return_url": "str"}},
}
SAME = ("client_reference_id", "customer_email", "success_url", "cancel_url", "expires_at", "locale")


def create_session(call: Call) -> Object:
    """A payment page for some lines, or one that only saves a card."""
    book, params = call.book, call.params
    mode = params.get("mode", "payment")
    customer = (
        book.find("customers", params["customer"], "customer")["id"] if params.get("customer") else None
    )
    at = params.get("expires_at", book.now + DAY)
    if not book.now + 1_800 <= at <= book.now + DAY:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
        raise bad_parameter(message, "expires_at")
    fields: dict[str, Any] = {
        name: params[name] for name in (*SAME, "allowed_payment_method_types") if name in params
    }
    fields["metadata"] = merge_metadata({}, params.get("metadata", {}))
    if mode == "payment":
        total, currency = _total(call)
        fields |= {"amount_subtotal": total, "amount_total": total, "currency": currency}
    intent = dict(params.get("payment_intent_data", {}))
    if "metadata" in intent:
        intent["metadata"] = merge_metadata({}, intent["metadata"])
    natural = f"{customer}:{sorted(fields['metadata'].items())}:{fields.get('amount_total')}"
    return checkout.open_session(book, natural, mode, intent, customer=customer, **fields)


def _total(call: Call) -> tuple[int, str]:
    need(call.params, "line_items")
    total, currency = 0, ""
    for index, line in enumerate(call.params["line_items"]):
        if "price" in line:
            price = call.book.find("prices", line["price"], f"line_items[{index}][price]")
            amount, of = price["unit_amount"], price["currency"]
        else:
            need(line.get("price_data", {}), "currency", "unit_amount")
            amount, of = line["price_data"]["unit_amount"], line["price_data"]["currency"].lower()
        check_amount(amount)
        if currency and of != currency:
            raise bad_parameter("All line items must have the same currency.", f"line_items[{index}]")
        total, currency = total + amount * line.get("quantity", 1), of
    return total, currency


def expire_session(call: Call) -> Object:
    """Close an open page."""
    return checkout.expire(call.book, call.book.find("checkout_sessions", call.id))


def create_portal_session(call: Call) -> Object:
    """A way into the customer portal."""
    need(call.params, "customer")
    book = call.book
    customer = book.find("customers", call.params["customer"], "customer")["id"]
    name = book.fresh_id("portal_sessions", "bps", customer, book.now)
    return book.put(
        "portal_sessions", shapes.portal_session(name, book.now, customer, call.params.get("return_url"))
    )


def create_endpoint(call: Call) -> Object:
    """An address on this machine to post events to; its secret is shown here and never again."""
    book, params = call.book, call.params
    need(params, "url", "enabled_events")
    address = urlsplit(params["url"])
    if address.scheme not in ("http", "https") or address.hostname not in LOOPBACK:
        raise bad_parameter("Invalid URL: the sandbox posts to addresses of this machine only.", "url")
    name = book.fresh_id("webhook_endpoints", "we", params["url"])
    secret = "whsec_" + object_id(book.seed, "x", name, "secret")[2:]
    fields: dict[str, Any] = {"metadata": merge_metadata({}, params.get("metadata", {}))}
    fields |= {key: params[key] for key in ("description",) if key in params}
    made = shapes.webhook_endpoint(name, book.now, params["url"], params["enabled_events"], **fields)
    book.put("webhook_endpoints", made)
    book.put("webhook_secrets", {"id": name, "secret": secret})
    return {**made, "secret": secret}


def delete_endpoint(call: Call) -> Object:
    """Post to an address no more."""
    found = call.book.find("webhook_endpoints", call.id)
    return tombstone(call.book.change("webhook_endpoints", found, deleted=True, status="disabled"))


def create_clock(call: Call) -> Object:
    """A test clock. The sandbox has one time for all: a clock set to later moves it there."""
    need(call.params, "frozen_time")
    book = call.book
    at = _moved(call)
    name = book.fresh_id("test_clocks", "clock", at, call.params.get("name"))
    return book.put("test_clocks", shapes.test_clock(name, book.now, at, call.params.get("name")))


def advance_clock(call: Call) -> Object:
    """Move the one time of the sandbox on; done before the answer, so the clock is always ready."""
    need(call.params, "frozen_time")
    found = call.book.find("test_clocks", call.id)
    return call.book.change("test_clocks", found, "test_helpers.test_clock.ready", frozen_time=_moved(call))


def _moved(call: Call) -> int:
    at = int(call.params["frozen_time"])
    if at < call.book.now:
        message = f"The sandbox stands at {call.book.now}, and its clock cannot go back to {at}."
        raise bad_parameter(message, "frozen_time")
    call.actions.advance(at)
    return at


def show_account(call: Call) -> Object:
    """The merchant himself."""
    return shapes.account()


def endpoints() -> list[Endpoint]:
    """Everything at the doors."""
    portal: Spec = {"customer": "str", "return_url": "str", "flow_data": FLOW, **EXPAND}
    hook: Spec = {
        "url": "str",
        "enabled_events": "list",
        "description": "str",
        "metadata": "map",
        **EXPAND,
    }
    clock: Spec = {"frozen_time": "int", **EXPAND}
    session, test_clock = "checkout.Session", "test_helpers.TestClock"
    found = [
        ("checkout/sessions", create_session, SESSION, f"{session}CreateParams", session),
        ("checkout/sessions/*/expire", expire_session, EXPAND, f"{session}ExpireParams", session),
        (
            "billing_portal/sessions",
            create_portal_session,
            portal,
            "billing_portal.SessionCreateParams",
            "billing_portal.Session",
        ),
        ("webhook_endpoints", create_endpoint, hook, "WebhookEndpointCreateParams", "WebhookEndpoint"),
        (
            "test_helpers/test_clocks",
            create_clock,
            {"name": "str", **clock},
            f"{test_clock}CreateParams",
            test_clock,
        ),
        (
            "test_helpers/test_clocks/*/advance",
            advance_clock,
            clock,
            f"{test_clock}AdvanceParams",
            test_clock,
        ),
    ]
    return [
        *(Endpoint("POST", *one) for one in found),
        Endpoint(
            "DELETE",
            "webhook_endpoints/*",
            delete_endpoint,
            {},
            "WebhookEndpointDeleteParams",
            "WebhookEndpoint",
        ),
        Endpoint("GET", "account", show_account, EXPAND, "AccountRetrieveParams", "Account"),
    ]
