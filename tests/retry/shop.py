"""One merchant at the sandbox: an App with its own state, and the hands of everybody else at Stripe."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tinko_pipelines.app import App
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger.anomalies import still_open
from tinko_pipelines.ledger.schema import attempt, recovery_case, webhook_event
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.settings import load_settings

LEASE_SECONDS = 1.0
DAY = 86_400


class Watched:
    """A gateway that passes everything on and remembers what was asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.account_id = gateway.account_id
        self.livemode = gateway.livemode
        self.api_version = gateway.api_version
        self.asked: list[tuple[str, str]] = []
        self.keys: list[str] = []

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        self.asked.append(("GET", path))
        return self._gateway.get(path, params)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        self.asked.append(("POST", path))
        if path.endswith(("/confirm", "/pay")):
            self.keys.append(idempotency_key)
        return self._gateway.post(path, params, idempotency_key, api_version)

    def charging(self) -> list[str]:
        """The requests that can have moved money."""
        return [
            path for method, path in self.asked if method == "POST" and path.endswith(("/confirm", "/pay"))
        ]


class Shop:
    """Plans and drains through an App, and changes Stripe behind its back."""

    def __init__(self, base: str, state: Path, **settings: Any) -> None:
        self.stripe = SandboxClient(base)
        chosen = {
            "clock": "sandbox",
            "stripe_requests_per_second": 1000,
            "drain_lease_seconds": LEASE_SECONDS,
        }
        self.app = App(load_settings(state=state, stripe_api_base=base, **{**chosen, **settings}))

    def watch(self) -> Watched:
        """Let every request from now on be remembered."""
        watched = Watched(self.app.account().gateway)
        self.app.account().__dict__["gateway"] = watched
        return watched

    def refresh(self) -> None:
        self.app.ingest_changes()
        self.app.plan()

    def at(self, days: float) -> int:
        return int(self.stripe.now().timestamp() + days * DAY)

    def advance_hours(self, hours: float) -> datetime:
        return self.advance(timedelta(hours=hours))

    def advance(self, delta: timedelta) -> datetime:
        return self.stripe.advance_to(self.stripe.now() + delta)

    def until_due(self, *debts: str) -> None:
        last = max(self.case(debt)["due_at"] for debt in debts)
        self.stripe.advance_to(last + timedelta(minutes=1))

    def post(self, path: str, **params: Any) -> dict[str, Any]:
        version = self.app.account().gateway.api_version
        answer = self.app.account().gateway.post(path, params, f"test:{path}:{params}", version)
        assert answer.ok, answer
        return answer.body or {}

    def cards(self, customer: str) -> list[str]:
        listed = self.app.account().gateway.get(f"/v1/customers/{customer}/payment_methods").body or {}
        return [str(card["id"]) for card in listed["data"]]

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.app.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def case(self, debt: str) -> dict[str, Any]:
        (found,) = [row for row in self.rows(recovery_case) if row["debt_id"] == debt]
        return found

    def let_leases_lapse(self) -> None:
        """As time would, without waiting for it."""
        with self.app.ledger.write() as connection:
            connection.execute(attempt.update().values(lease_until=None).where(attempt.c.state != "calling"))

    def open_anomalies(self, debt: str) -> list[dict[str, Any]]:
        case = self.case(debt)["id"]
        return [row for row in still_open(self.app.ledger) if row["case_id"] == case]

    def event(self, kind: str, object_id: str) -> None:
        """Let Stripe tell of something, as the webhook's door would store it."""
        number, now = len(self.rows(webhook_event)), self.stripe.now()
        with self.app.ledger.write() as connection:
            connection.execute(
                webhook_event.insert().values(
                    event_id=f"evt_{number}",
                    account_id="default",
                    livemode=False,
                    type=kind,
                    created_at=now,
                    received_at=now,
                    object_id=object_id,
                )
            )

    def attempts(self, debt: str) -> list[dict[str, Any]]:
        case = self.case(debt)["id"]
        return sorted((row for row in self.rows(attempt) if row["case_id"] == case), key=lambda row: row["n"])


def passing_later(shop: Shop, days: float = 0.5) -> list[list[Any]]:
    """A card without funds now and with funds later."""
    return [[0, "insufficient_funds"], [shop.at(days), None]]
