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
    "payment_method_id": "pm_1",
    "first_charge_id": "ch_1",
    "amount_minor": 1000,
    "currency": "usd",
    "livemode": False,
}


class Invoices(FakeStripe):
    def __init__(self, invoice: dict[str, Any], charge: dict[str, Any], subscription: str) -> None:
        super().__init__()
        parent = {"subscription_details": {"subscription": {"id": "sub_1", "status": subscription}}}
        self.invoice = {"status": "open", "amount_remaining": 1000, "parent": parent, **invoice}
        self.charge = {"id": "ch_1", "created": 1, **charge}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if path.startswith("/v1/invoices/"):
            return Answer(200, self.invoice)
        return Answer(200, {"data": [self.charge]})


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


def test_an_open_invoice_goes_ahead() -> None:
    assert preflight(Invoices({}, {}, "past_due"), CASE).go
