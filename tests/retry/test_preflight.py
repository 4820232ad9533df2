"""Invoices: what is read before a call, and what each finding means."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.fake_stripe import FakeStripe
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.retry.preflight import preflight

CASE = {
    "debt_kind": "invoice",
    "live_object_id": "in_1",
    "payment_intent_id": "pi_1",
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "amount_minor": 1000,
}


class Invoices(FakeStripe):
    def __init__(self, invoice: dict[str, Any], charge: dict[str, Any], subscription: str) -> None:
        super().__init__()
        self.invoice = {"object": "invoice", "status": "open", "amount_remaining": 1000, **invoice}
        self.charge = {"id": "ch_1", "created": 1, **charge}
        self.subscription = subscription
        self.gets = 0

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        self.gets += 1
        if path.startswith("/v1/invoices/"):
            return Answer(200, self.invoice)
        if path == "/v1/charges":
            return Answer(200, {"data": [self.charge]})
        return Answer(200, {"status": self.subscription})


@pytest.mark.parametrize(
    ("invoice", "charge", "subscription", "close_as"),
    [
        ({"status": "paid"}, {}, "active", "paid_elsewhere"),
        ({"status": "void"}, {}, "active", "cancelled"),
        ({"status": "uncollectible"}, {}, "active", "cancelled"),
        ({"next_payment_attempt": 5}, {}, "active", None),
        ({"amount_remaining": 400}, {}, "active", "needs_human"),
        ({}, {"disputed": True}, "active", "cancelled"),
        ({}, {"amount_refunded": 1}, "active", "cancelled"),
        ({}, {}, "canceled", "cancelled"),
    ],
)
def test_a_finding_stops_the_call(
    invoice: dict[str, Any], charge: dict[str, Any], subscription: str, close_as: str | None
) -> None:
    clearance = preflight(Invoices(invoice, charge, subscription), CASE)
    assert (clearance.go, clearance.close_as) == (False, close_as)


def test_an_open_invoice_goes_ahead_after_four_reads() -> None:
    fake = Invoices({}, {}, "past_due")
    assert preflight(fake, CASE).go
    assert fake.gets == 4
