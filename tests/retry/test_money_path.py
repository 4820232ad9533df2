"""Plan, drain and mail against the sandbox, with customers and Stripe acting at the worst moment."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tinko_pipelines.app import App
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings

LEASE_SECONDS = 1.0
DAY = 86_400


class Shop:
    """One merchant: an App with its own state, and the hands of everybody else at Stripe."""

    def __init__(self, base: str, state: Path, **settings: Any) -> None:
        self.stripe = SandboxClient(base)
        chosen = {
            "clock": "sandbox",
            "stripe_requests_per_second": 1000,
            "drain_lease_seconds": LEASE_SECONDS,
        }
        self.app = App(load_settings(state=state, stripe_api_base=base, **{**chosen, **settings}))

    def refresh(self) -> None:
        self.app.ingest_changes()
        self.app.plan()

    def at(self, days: float) -> int:
        return int(self.stripe.now().timestamp() + days * DAY)

    def advance(self, delta: timedelta) -> datetime:
        return self.stripe.advance_to(self.stripe.now() + delta)

    def until_due(self, *debts: str) -> None:
        last = max(self.case(debt)["due_at"] for debt in debts)
        self.stripe.advance_to(last + timedelta(minutes=1))

    def post(self, path: str, **params: Any) -> dict[str, Any]:
        version = self.app.gateway.api_version
        answer = self.app.gateway.post(path, params, f"test:{path}:{params}", version)
        assert answer.ok, answer
        return answer.body or {}

    def cards(self, customer: str) -> list[str]:
        listed = self.app.gateway.get(f"/v1/customers/{customer}/payment_methods").body or {}
        return [str(card["id"]) for card in listed["data"]]

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.app.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def case(self, debt: str) -> dict[str, Any]:
        (found,) = [row for row in self.rows(recovery_case) if row["debt_id"] == debt]
        return found

    def attempts(self, debt: str) -> list[dict[str, Any]]:
        case = self.case(debt)["id"]
        return sorted((row for row in self.rows(attempt) if row["case_id"] == case), key=lambda row: row["n"])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=1, history_days=1) as process:
        made = Shop(process.base, tmp_path / "state")
        yield made
        made.app.ledger.close()


def passing_later(shop: Shop, days: float = 0.5) -> list[list[Any]]:
    """A card without funds now and with funds later."""
    return [[0, "insufficient_funds"], [shop.at(days), None]]


def test_an_order_paid_by_a_second_intent_since_the_plan_is_not_charged(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_intent", codes=passing_later(shop), order_id="7")
    other = shop.stripe.fixture(
        "failed_intent", codes=passing_later(shop), order_id="8", email="b@example.com"
    )
    shop.refresh()
    shop.advance(timedelta(hours=13))
    for who, order in ((made, "7"), (other, "another")):
        shop.stripe.act("attach_card", who["customer"], card="fresh")
        (card,) = set(shop.cards(who["customer"])) - {who["payment_method"]}
        shop.post("/v1/payment_intents", amount=2500, currency="usd", customer=who["customer"],
                  payment_method=card, confirm=True, metadata={"order_id": order})  # fmt: skip
    shop.until_due(made["payment_intent"], other["payment_intent"])
    shop.app.drain(owner="test")
    assert shop.case(made["payment_intent"])["state"] == "needs_human"
    assert shop.case(other["payment_intent"])["state"] == "recovered"
    assert shop.stripe.book()["orders_paid_twice"] == 0
    shop.refresh()
    assert shop.case(made["payment_intent"])["state"] == "paid_elsewhere"
