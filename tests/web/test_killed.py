"""Processes killed at each step of a page's protocol: nobody pays twice, and nothing is blocked for ever."""

import contextlib
import os
import subprocess
import sys
import time
from datetime import timedelta

import httpx
import pytest

from tests.retry.shop import LEASE_SECONDS, Shop
from tests.web.counter import PUBLIC, Customer, link_for
from tests.web.test_paying import declined, of_case, paid, soon_due
from tinko_pipelines.retry.boundary import PAGE_BOUNDARIES, PAGE_END_BOUNDARIES

pytestmark = pytest.mark.slow


def environment(shop: Shop, kill_at: str = "") -> dict[str, str]:
    settings = shop.app.settings
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    return {
        **clean,
        "TINKO_STATE": str(settings.state),
        "TINKO_STRIPE_API_BASE": settings.stripe_api_base,
        "TINKO_LEDGER_URL": settings.ledger,
        "TINKO_CLOCK": "sandbox",
        "TINKO_DRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
        "TINKO_STRIPE_REQUESTS_PER_SECOND": "1000",
        "TINKO_PUBLIC_URL": PUBLIC,
        "TINKO_KILL_AT": kill_at,
    }


def press_and_die(shop: Shop, link: str, boundary: str) -> None:
    command = [sys.executable, "-m", "tests.web.door"]
    with subprocess.Popen(
        command, env=environment(shop, f"{boundary}:1"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        customer = Customer(process.stdout.readline().removeprefix("ready ").strip())
        with contextlib.suppress(httpx.TransportError):
            answer = customer.press(link)
            raise AssertionError(f"it did not die at {boundary}: {answer.status_code}")
        customer.http.close()
        assert process.wait(20) == -9


def drain(shop: Shop, kill_at: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tinko_pipelines.cli", "drain", "--json"],
        env=environment(shop, kill_at), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


@pytest.mark.parametrize("boundary", PAGE_BOUNDARIES)
def test_killed_while_a_page_is_made(shop: Shop, customer: Customer, boundary: str) -> None:
    comes_back, stays_away = (declined(shop, days=0.4)["payment_intent"] for _ in range(2))
    due = max(shop.case(debt)["due_at"] for debt in (comes_back, stays_away))
    link = link_for(shop, comes_back)
    for name in (link, link_for(shop, stays_away)):
        press_and_die(shop, name, boundary)
    time.sleep(LEASE_SECONDS + 0.2)
    page = customer.goes_to(link)
    assert customer.pays(page).status_code == 303
    shop.stripe.advance_to(due + timedelta(hours=1, minutes=1))
    for _ in range(2):
        shop.app.drain(owner="test")
        shop.advance(timedelta(minutes=31))
    shop.app.drain(owner="test")
    reasons = [
        (shop.case(debt)["state"], shop.case(debt)["state_reason"]) for debt in (comes_back, stays_away)
    ]
    assert reasons == [("recovered", "after our mail (link)"), ("recovered", "our retry succeeded")]
    assert [paid(shop, debt) for debt in (comes_back, stays_away)] == [1, 1]


@pytest.mark.parametrize("boundary", PAGE_END_BOUNDARIES)
def test_killed_while_a_page_is_looked_after(shop: Shop, customer: Customer, boundary: str) -> None:
    debt = soon_due(shop)
    customer.goes_to(link_for(shop, debt))
    shop.until_due(debt)
    assert drain(shop, f"{boundary}:1") == -9
    time.sleep(LEASE_SECONDS + 0.2)
    for _ in range(3):
        shop.app.drain(owner="test")
        shop.advance(timedelta(minutes=31))
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1), of_case(shop, debt)


@pytest.mark.parametrize("boundary", ["page_before_look", "page_after_look"])
def test_killed_after_the_customer_has_paid(shop: Shop, customer: Customer, boundary: str) -> None:
    debt = declined(shop, days=0.4)["payment_intent"]
    assert customer.pays(customer.goes_to(link_for(shop, debt))).status_code == 303
    shop.until_due(debt)
    assert drain(shop, f"{boundary}:1") == -9
    time.sleep(LEASE_SECONDS + 0.2)
    shop.app.drain(owner="test")
    assert (shop.case(debt)["state_reason"], paid(shop, debt)) == ("after our mail (link)", 1)


def test_what_the_killed_have_left_breaks_no_invariant(shop: Shop) -> None:
    shop.refresh()
    broken = {result.name: result.sample for result in shop.app.check() if result.rows}
    assert broken == {}
    assert shop.stripe.book()["double_charges"] == 0
    assert shop.stripe.book()["charged_after_paid"] == 0
