"""A shop at a sandbox of its own, in which somebody has paid, failed to pay, and been written to."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tinko_pipelines.sandbox.process import SandboxProcess

EMAIL, NAME = "augusta.ada@lovelace.example", "Augusta Ada"


@dataclass
class Person:
    customer: str
    method: str
    needles: set[str]
    invoice: str
    state: Path


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with (
        SandboxProcess(tmp_path / "sandbox", seed=5, charges=60, history_days=10) as process,
        ledger_url(request, tmp_path) as url,
    ):
        # SQLite's file lies in the state folder, as it does by default, so that its bytes are looked through too.
        elsewhere = {"ledger_url": url} if request.param == "postgresql" else {}
        made = Shop(process.base, tmp_path / "state", **elsewhere)
        yield made
        made.app.ledger.close()


@pytest.fixture
def person(shop: Shop) -> Person:
    """A subscriber whose card declines whatever is tried: retried, written to, and in the marts."""
    made = shop.stripe.fixture("failed_invoice", email=EMAIL, name=NAME, locale="de-DE", amount_minor=4_321)
    shop.refresh()
    for _ in range(4):
        shop.advance(timedelta(days=1.5))
        shop.app.drain(owner="test", max_seconds=20)
        shop.app.send_mail(owner="test", max_seconds=20)
    shop.refresh()
    assert shop.attempts(made["invoice"]), "the person was retried"
    charge = shop.stripe.charges_of(made["invoice"])[-1]
    fingerprint = charge["payment_method_details"]["card"]["fingerprint"]
    needles = {made["customer"], made["payment_method"], fingerprint, EMAIL, NAME}
    return Person(made["customer"], made["payment_method"], needles, made["invoice"], shop.app.settings.state)


def settled(shop: Shop, person: Person) -> dict[str, Any]:
    """His case, once no attempt of it is open any more."""
    for _ in range(10):
        case = shop.case(person.invoice)
        if not any(row["state"] in ("unknown", "processing", "requires_action", "calling", "prepared")
                   for row in shop.attempts(person.invoice)):  # fmt: skip
            return case
        shop.advance(timedelta(hours=6))
        shop.app.drain(owner="test", max_seconds=20)
    raise AssertionError("an attempt never ended")
