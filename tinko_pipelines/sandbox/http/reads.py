"""Everything that is only read: lists and single objects, one table for all kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tinko_pipelines.sandbox.billing import ENDED
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint
from tinko_pipelines.sandbox.http.lists import Test, page
from tinko_pipelines.sandbox.http.params import EXPAND, LISTED, PAGE, Spec
from tinko_pipelines.sandbox.store import Object

SUBSCRIPTION = "parent.subscription_details.subscription"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, where it is listed, and the fields its list can be narrowed by (name to path)."""

    kind: str
    path: str
    shows: str
    filters: Mapping[str, str] = field(default_factory=dict)
    more: Spec = field(default_factory=dict)
    test: Callable[[dict[str, Any]], Test | None] = lambda params: None
    tested: tuple[str, ...] = ()
    """Parameters that `test` looks at."""
    dated: bool = True
    shown: Callable[[Object, int], Object] = lambda item, now: item
    """The object as it is at a moment, where time alone changes it."""


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _subscription_test(params: dict[str, Any]) -> Test | None:
    status, price = params.get("status"), params.get("price")

    def test(item: Object) -> bool:
        if price is not None and all(one["price"]["id"] != price for one in item["items"]["data"]):
            return False
        if status == "ended":
            return item["status"] in ENDED
        return status == "all" or (
            item["status"] not in ENDED if status is None else item["status"] == status
        )

    return test


def _event_test(params: dict[str, Any]) -> Test | None:
    wanted = [*params.get("types", []), *([params["type"]] if "type" in params else [])]
    if not wanted:
        return None
    return lambda item: any(item["type"] == one or fnmatchcase(item["type"], one) for one in wanted)


def _available_in_time(item: Object, now: int) -> Object:
    available = isinstance(item.get("available_on"), int) and item["available_on"] <= now
    return {**item, "status": "available"} if available else item


STATES = "active|all|canceled|ended|incomplete|incomplete_expired|past_due|paused|trialing|unpaid"
PAYMENT: Spec = {"type": "payment_intent|payment_record", "payment_intent": "str", "payment_record": "str"}
RESOURCES = (
    Resource("charges", "charges", "Charge", _same("customer", "payment_intent", "transfer_group")),
    Resource("payment_intents", "payment_intents", "PaymentIntent", _same("customer")),
    Resource(
        "invoices",
        "invoices",
        "Invoice",
        {**_same("customer"), "subscription": SUBSCRIPTION},
        {
            "status": "draft|open|paid|uncollectible|void",
            "collection_method": "charge_automatically|send_invoice",
        },
    ),
    Resource(
        "invoice_payments",
        "invoice_payments",
        "InvoicePayment",
        _same("invoice"),
        {"status": "canceled|open|paid", "payment": PAYMENT},
    ),
    Resource("customers", "customers", "Customer", _same("email")),
    Resource(
        "payment_methods",
        "payment_methods",
        "PaymentMethod",
        _same("customer", "type"),
        dated=False,
    ),
    Resource(
        "subscriptions",
        "subscriptions",
        "Subscription",
        _same("customer"),
        {"status": STATES, "price": "str", "collection_method": "charge_automatically|send_invoice"},
        _subscription_test,
        ("status", "price"),
    ),
    Resource(
        "prices",
        "prices",
        "Price",
        _same("currency", "product"),
        {"active": "bool", "type": "one_time|recurring"},
    ),
    Resource("products", "products", "Product", {}, {"active": "bool"}),
    Resource("refunds", "refunds", "Refund", _same("charge", "payment_intent")),
    Resource("disputes", "disputes", "Dispute", _same("charge", "payment_intent")),
    Resource(
        "balance_transactions",
        "balance_transactions",
        "BalanceTransaction",
        _same("currency", "source", "type"),
        shown=_available_in_time,
    ),
    Resource(
        "events", "events", "Event", {}, {"type": "str", "types": "list"}, _event_test, ("type", "types")
    ),
    Resource(
        "checkout_sessions",
        "checkout/sessions",
        "checkout.Session",
        _same("customer", "payment_intent", "subscription"),
        {"status": "complete|expired|open"},
    ),
    Resource("webhook_endpoints", "webhook_endpoints", "WebhookEndpoint", dated=False),
    Resource(
        "test_clocks",
        "test_helpers/test_clocks",
        "test_helpers.TestClock",
        dated=False,
    ),
)
PLAIN = ("status", "collection_method", "active", "type")
"""Parameters of `more` that are fields of the object under the same name."""


def _lister(resource: Resource) -> Callable[[Call], Object]:
    def listed(call: Call) -> Object:
        params = call.params
        wanted = {path: params[name] for name, path in resource.filters.items() if name in params}
        test = resource.test(params)
        plain = [name for name in PLAIN if name in resource.more and name not in resource.tested]
        wanted |= {name: params[name] for name in plain if name in params}
        wanted |= {f"payment.{name}": value for name, value in params.get("payment", {}).items()}
        found = page(call.book, resource.kind, call.url, params, wanted, test)
        found["data"] = [resource.shown(item, call.book.now) for item in found["data"]]
        return found

    return listed


def _retriever(resource: Resource) -> Callable[[Call], Object]:
    def retrieved(call: Call) -> Object:
        found = call.book.find(resource.kind, call.id)
        return tombstone(found) if found.get("deleted") else resource.shown(found, call.book.now)

    return retrieved


def tombstone(item: Object) -> Object:
    """What Stripe shows of a deleted object."""
    return {"id": item["id"], "object": item["object"], "deleted": True}


def _methods_of_customer(call: Call) -> Object:
    call.book.find("customers", call.id)
    wanted = {"customer": call.id, **({"type": call.params["type"]} if "type" in call.params else {})}
    return page(call.book, "payment_methods", call.url, call.params, wanted)


def endpoints() -> list[Endpoint]:
    """A list and a retrieve endpoint of every kind."""
    found = [
        Endpoint(
            "GET",
            "customers/*/payment_methods",
            _methods_of_customer,
            {"type": "str", **PAGE},
            "CustomerListPaymentMethodsParams",
            "PaymentMethod",
        )
    ]
    for one in RESOURCES:
        spec = {**dict.fromkeys(one.filters, "str"), **one.more, **(LISTED if one.dated else PAGE)}
        retrieve = _retriever(one)
        found += [
            Endpoint("GET", one.path, _lister(one), spec, f"{one.shows}ListParams", one.shows),
            Endpoint("GET", f"{one.path}/*", retrieve, EXPAND, f"{one.shows}RetrieveParams", one.shows),
        ]
    return found
