"""When charging stops by itself, and when it goes on: the decision alone, and a drain against the sandbox."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.ledgers import KINDS, ledger_url
from tinko_pipelines.app import App
from tinko_pipelines.errors import GatewayError
from tinko_pipelines.ledger.anomalies import still_open
from tinko_pipelines.ledger.control import charging_allowed, resume
from tinko_pipelines.ledger.schema import attempt, control, recovery_case
from tinko_pipelines.retry.breaker import Counts, Limits, decide, judge
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings

LIMITS = Limits()
MANY = st.integers(min_value=0, max_value=3000)


def counts(**given: int) -> Counts:
    return Counts(**{"called": 100, "tried": 100, "base_tried": 1000, **given})


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, None),
        ({"faults": 4, "called": 4}, None),
        ({"faults": 5, "called": 5}, "stripe_faults"),
        ({"faults": 20}, None),
        ({"faults": 21}, "stripe_faults"),
        ({"declined": 95, "base_declined": 700}, "unusual_declines"),
        ({"declined": 76, "base_declined": 700}, None),
        ({"declined": 60, "base_declined": 700}, None),
        ({"tried": 20, "declined": 19, "base_declined": 100}, None),
        ({"tried": 20, "declined": 20, "base_declined": 100}, "unusual_declines"),
        ({"declined": 100, "base_tried": 99}, None),
        ({"tried": 10_000, "declined": 7900, "base_declined": 700}, None),
        ({"tried": 10_000, "declined": 8100, "base_declined": 700}, "unusual_declines"),
    ],
)
def test_what_is_a_reason_to_stop(given: dict[str, int], kind: str | None) -> None:
    trip = decide(counts(**given), LIMITS)
    assert (trip.kind if trip else None) == kind


@given(MANY, MANY, MANY, MANY, MANY, MANY)
def test_it_stops_only_above_every_limit(
    called: int, faults: int, tried: int, declined: int, base_tried: int, base_declined: int
) -> None:
    seen = Counts(
        called, min(faults, called), tried, min(declined, tried), base_tried, min(base_declined, base_tried)
    )
    trip = decide(seen, LIMITS)
    if trip is None:
        return
    if trip.passes:
        assert seen.faults >= LIMITS.faults
        assert seen.faults / seen.called > LIMITS.fault_share
    else:
        assert seen.declined >= LIMITS.declines
        assert seen.base_tried >= LIMITS.base
        assert seen.declined / seen.tried > seen.base_declined / seen.base_tried
        assert f"{seen.declined} of {seen.tried}" in trip.reason


@given(MANY, MANY, st.integers(min_value=0, max_value=50))
def test_more_faults_never_let_it_go_on(called: int, faults: int, more: int) -> None:
    fewer = Counts(called + faults, faults)
    worse = Counts(called + faults + more, faults + more)
    assert decide(fewer, LIMITS) is None or decide(worse, LIMITS) is not None


class Shop:
    def __init__(self, base: str, state: Path, **settings: Any) -> None:
        self.stripe = SandboxClient(base)
        fixed = {"clock": "sandbox", "stripe_requests_per_second": 1000, "drain_lease_seconds": 1.0}
        self.app = App(load_settings(state=state, stripe_api_base=base, **fixed, **settings))

    def owe(self, *names: str, passes: bool) -> None:
        later = int(self.stripe.now().timestamp()) + 43_200
        codes = [[0, "insufficient_funds"], *([[later, None]] if passes else [])]
        for name in names:
            self.stripe.fixture("failed_invoice", email=f"{name}@example.com", codes=codes)
        self.refresh()

    def refresh(self) -> None:
        self.app.ingest_changes()
        self.app.plan()

    def until_due(self) -> None:
        last = max(row["due_at"] for row in self.rows(recovery_case) if row["state"] == "open")
        self.stripe.advance_to(last + timedelta(minutes=1))

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.app.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def allowed(self) -> bool:
        with self.app.ledger.read() as connection:
            return charging_allowed(connection, "default", self.stripe.now())


@pytest.fixture(name="ledger_url", params=KINDS)
def _ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ledger_url(request, tmp_path) as url:
        yield url


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=1, history_days=1) as process:
        yield process.base


def test_a_key_that_may_not_charge_stops_charging_until_a_person_resumes_it(
    base: str, ledger_url: str, tmp_path: Path
) -> None:
    shop = Shop(base, tmp_path / "state", ledger_url=ledger_url)
    shop.owe("a", passes=True)
    shop.until_due()
    weak = {"stripe_secret_key": "rk_test_tinko_readonly", "charging": "on", "ledger_url": ledger_url}
    weaker = Shop(base, tmp_path / "state", **weak)
    with pytest.raises(GatewayError, match="refuses the key"):
        weaker.app.drain(owner="weak")
    weaker.app.ledger.close()
    assert [row["state"] for row in shop.rows(attempt)] == ["abandoned"]
    (switch,) = shop.rows(control)
    assert (switch["scope"], switch["changed_by"], switch["resumes_at"]) == ("default", "breaker", None)
    assert [row["kind"] for row in still_open(shop.app.ledger)] == ["key_refused"]
    shop.stripe.advance_to(shop.stripe.now() + timedelta(days=1))
    assert shop.app.drain(owner="test").called == 0
    resume(shop.app.ledger, "default", "new key", "me", shop.stripe.now())
    assert shop.app.drain(owner="test").succeeded == 1
    shop.app.ledger.close()


def test_an_outage_stops_charging_for_a_while_and_nobody_needs_to_act(
    base: str, ledger_url: str, tmp_path: Path
) -> None:
    shop = Shop(base, tmp_path / "state", ledger_url=ledger_url, drain_workers=2)
    shop.owe(*"abcdefghi", passes=True)
    shop.until_due()
    shop.stripe.faults([{"kind": "error_before", "method": "POST", "path": "*/pay"}])
    first = shop.app.drain(owner="test")
    assert 5 <= first.called < 9
    (switch,) = shop.rows(control)
    assert switch["resumes_at"] == shop.stripe.now() + timedelta(minutes=10)
    assert "Stripe gave no usable answer" in switch["reason"]
    assert shop.app.drain(owner="test").called == 0
    shop.stripe.faults([])
    shop.stripe.advance_to(shop.stripe.now() + timedelta(minutes=11))
    for _ in range(40):
        shop.app.drain(owner="test")
        shop.stripe.advance_to(shop.stripe.now() + timedelta(hours=1))
    assert {row["state"] for row in shop.rows(recovery_case)} == {"recovered"}
    assert shop.stripe.book()["double_charges"] == 0
    shop.app.ledger.close()


def test_unusually_many_declines_stop_charging_until_a_person_has_looked(
    base: str, ledger_url: str, tmp_path: Path
) -> None:
    limits = {"breaker_declines": 6, "breaker_base": 8, "drain_workers": 2}
    shop = Shop(base, tmp_path / "state", ledger_url=ledger_url, **limits)
    shop.owe(*"abcdefgh", passes=True)
    shop.until_due()
    assert shop.app.drain(owner="test").succeeded == 8
    shop.owe(*"klmnopqrst", passes=False)
    shop.until_due()
    declined = shop.app.drain(owner="test").declined
    assert 6 <= declined < 10
    assert not shop.allowed()
    (found,) = still_open(shop.app.ledger)
    assert (found["kind"], found["subject"]) == ("unusual_declines", "default")
    assert "declined within the hour" in found["detail"]
    resume(shop.app.ledger, "default", "seen", "me", shop.stripe.now())
    assert judge(shop.app.ledger, "default", shop.stripe.now(), LIMITS) is None, "judged once, not twice"
    shop.stripe.advance_to(shop.stripe.now() + timedelta(minutes=20))
    assert shop.app.drain(owner="test").declined == 10 - declined
    assert shop.allowed()
    shop.app.ledger.close()
