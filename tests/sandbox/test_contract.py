"""Nothing the sandbox answers or accepts is unknown to the pinned SDK, and nothing the SDK counts on is missing."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
import stripe

from tests.sandbox.sdk_types import faults, named, param_faults, params_class
from tinko_pipelines.sandbox import fixtures
from tinko_pipelines.sandbox.book import API_VERSION
from tinko_pipelines.sandbox.http.service import Request, Service, all_endpoints
from tinko_pipelines.sandbox.life import open_sandbox
from tinko_pipelines.settings import SANDBOX_KEY

ENDPOINTS = all_endpoints()
NAMES = [f"{one.method} {one.path}" for one in ENDPOINTS]


class Desk:
    """A service asked directly, which notes which endpoints have answered and judges every answer."""

    def __init__(self, folder: Path) -> None:
        self.sandbox = open_sandbox(folder, seed=3, charges=250, history_days=60)
        self.service = Service(self.sandbox)
        self.answered: set[str] = set()
        self.faults: list[str] = []

    def ask(self, method: str, path: str, status: int = 200, **params: object) -> dict:
        text = urlencode({_spelled(name): value for name, value in params.items()})
        request = Request(
            method,
            f"/v1/{path}",
            text if method == "GET" else "",
            "" if method == "GET" else text,
            {"authorization": f"Bearer {SANDBOX_KEY}"},
        )
        reply = self.service.answer(request)
        body = json.loads(reply.body)
        assert reply.status == status, body
        found = self.service.routes.find(method, path)
        assert found is not None
        where = f"{method} {found[0].path}"
        if status == 200:
            self.answered.add(where)
            self._judge(body, found[0].shows, where)
        else:
            self.faults += faults(body["error"], named("ErrorObject"), where)
        return body

    def _judge(self, body: dict, shows: str, where: str) -> None:
        for item in body["data"] if body.get("object") == "list" else [body]:
            if not item.get("deleted"):
                self.faults += faults(item, named(shows), where)
            if item.get("object") == "event":
                inner = item["data"]["object"]
                names = {"list": None, **{cls.OBJECT_NAME: cls for cls in _classes()}}
                self.faults += faults(inner, names[inner["object"]], f"{where} {item['type']}")


def _spelled(name: str) -> str:
    """`metadata__a` is `metadata[a]`."""
    outer, _, inner = name.partition("__")
    return f"{outer}[{inner}]" if inner else name


def _classes() -> list[type]:
    names = {one.shows for one in ENDPOINTS}
    return [named(name) for name in names]


def test_the_versions_are_the_sdks() -> None:
    assert stripe.api_version == API_VERSION


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=NAMES)
def test_every_parameter_is_one_of_the_sdks(endpoint) -> None:
    assert param_faults(endpoint.params, params_class(endpoint.sdk), endpoint.path) == []


def test_no_endpoint_is_there_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_every_answer_of_every_endpoint_is_as_the_sdk_describes_it(tmp_path) -> None:
    desk = Desk(tmp_path)
    _money(desk)
    _people_and_billing(desk)
    _doors(desk)
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or endpoint.path == "customers/*/payment_methods":
            continue
        if endpoint.path.endswith("*"):
            listed = desk.ask("GET", endpoint.path.removesuffix("/*"), limit=100)["data"]
            for item in listed[:: max(1, len(listed) // 25)]:
                desk.ask("GET", endpoint.path.replace("*", item["id"]))
    assert desk.faults == []
    assert desk.answered == set(NAMES)


def _money(desk: Desk) -> None:
    post = lambda path, status=200, **params: desk.ask("POST", path, status, **params)  # noqa: E731
    customer = post("customers", email="a@b.c")["id"]
    method = post("payment_methods/pm_card_visa/attach", customer=customer)["id"]
    intent = post("payment_intents", amount=500, currency="usd", customer=customer)["id"]
    post(f"payment_intents/{intent}", metadata__a="b", payment_method=method)
    post(f"payment_intents/{intent}/confirm", off_session="true")
    post(f"payment_intents/{intent}/confirm", 400)
    post("refunds", payment_intent=intent, amount=100)
    other = post("payment_intents", amount=500, currency="usd", payment_method="pm_card_visa")["id"]
    post(f"payment_intents/{other}/cancel", cancellation_reason="abandoned")
    declining = "pm_card_visa_chargeDeclinedInsufficientFunds"
    post("payment_intents", 402, amount=500, currency="usd", payment_method=declining, confirm="true")
    post(
        "payment_intents",
        amount=5,
        currency="usd",
        payment_method="pm_card_threeDSecureRequired",
        confirm="true",
    )
    failed = fixtures.make(desk.sandbox.actions, "failed_intent", {"code": "insufficient_funds"})
    post(f"payment_intents/{failed['payment_intent']}/confirm", 402, payment_method=failed["payment_method"])
    paid = fixtures.make(desk.sandbox.actions, "failed_intent", {"code": None})
    desk.sandbox.actions.dispute(paid["payment_intent"])
    fixtures.make(desk.sandbox.actions, "legacy_charge", {})


def _people_and_billing(desk: Desk) -> None:
    post = lambda path, status=200, **params: desk.ask("POST", path, status, **params)  # noqa: E731
    customer = post("customers", payment_method="pm_card_mastercard", name="N", address__country="DE")["id"]
    method = desk.ask("GET", f"customers/{customer}/payment_methods")["data"][0]["id"]
    desk.ask("GET", f"customers/{customer}/payment_methods")
    post(f"customers/{customer}", invoice_settings__default_payment_method=method)
    made = post("payment_methods", type="card", card__token="tok_visa")["id"]
    post(f"payment_methods/{made}", metadata__x="y")
    post(f"payment_methods/{made}/attach", customer=customer)
    post(f"payment_methods/{made}/detach")
    product = post("products", name="P")["id"]
    price = post("prices", currency="eur", unit_amount=900, product=product, recurring__interval="month")[
        "id"
    ]
    post("prices", currency="eur", unit_amount=900, product=product)
    items = {"items[0][price]": price}
    subscription = post("subscriptions", customer=customer, **items)
    post(f"subscriptions/{subscription['id']}", metadata__x="y")
    desk.ask("DELETE", f"subscriptions/{subscription['id']}")
    failed = fixtures.make(desk.sandbox.actions, "failed_invoice", {"stripe_retries": True})
    post(f"invoices/{failed['invoice']}", metadata__x="y", auto_advance="false")
    post(f"invoices/{failed['invoice']}/pay", 402)
    post(f"invoices/{failed['invoice']}/void")
    passing = fixtures.make(desk.sandbox.actions, "failed_invoice", {"passes_at": 0})
    late = fixtures.make(desk.sandbox.actions, "failed_invoice", {"codes": [[0, "lost_card"]]})
    desk.sandbox.book.find_card(late["payment_method"])["script"] = [[0, None]]
    post(f"invoices/{late['invoice']}/pay")
    post(f"invoices/{passing['invoice']}/pay", 400)
    desk.ask("DELETE", f"customers/{customer}")


def _doors(desk: Desk) -> None:
    post = lambda path, status=200, **params: desk.ask("POST", path, status, **params)  # noqa: E731
    customer = post("customers", payment_method="pm_card_visa")["id"]
    line = {"line_items[0][price_data][currency]": "usd", "line_items[0][price_data][unit_amount]": 700}
    page = post("checkout/sessions", mode="payment", customer=customer, **line)["id"]
    post(f"checkout/sessions/{page}/expire")
    post("checkout/sessions", mode="setup", customer=customer, success_url="https://example.com")
    post("billing_portal/sessions", customer=customer)
    hook = post("webhook_endpoints", url="http://127.0.0.1:9/x", **{"enabled_events[0]": "*"})["id"]
    desk.ask("DELETE", f"webhook_endpoints/{hook}")
    post("webhook_endpoints", url="http://127.0.0.1:9/x", **{"enabled_events[0]": "never.sent"})
    now = desk.sandbox.book.now
    clock = post("test_helpers/test_clocks", frozen_time=now)["id"]
    post(f"test_helpers/test_clocks/{clock}/advance", frozen_time=now + 86_400)
    desk.ask("GET", "account")
