"""A customer who is on the page of a debt and pays otherwise, by a bank that takes days, or twice."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.retry.shop import Shop
from tests.web import counter
from tests.web.counter import Customer, link_for
from tests.web.test_paying import declined, drain, intent, of_case, page_of, paid, status_of
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One whose pages offer whatever the account has."""
    folder: Path = tmp_path_factory.mktemp("counter")
    with SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process:
        made = Shop(process.base, folder / "state", public_url=counter.PUBLIC, page_methods="")
        made.stripe.mode(pages="own", stripe_retries="off")
        yield made
        made.app.ledger.close()


def pays_elsewhere(shop: Shop, made: dict[str, Any], **more: Any) -> None:
    case = shop.case(made["payment_intent"])
    shop.advance(timedelta(minutes=1))
    amount = {"amount": case["amount_minor"], "currency": case["currency"], "customer": made["customer"]}
    shop.post("/v1/payment_intents", **amount, payment_method="pm_card_visa", confirm=True, **more)


def test_pressed_again_after_paying_by_another_intent(shop: Shop, customer: Customer) -> None:
    made = declined(shop)
    debt = made["payment_intent"]
    link = link_for(shop, debt)
    page = customer.goes_to(link)
    pays_elsewhere(shop, made, metadata={"order_id": "another"})
    assert customer.goes_to(link) == page
    pays_elsewhere(shop, made)
    assert customer.press(link).status_code == 200
    case = shop.case(debt)
    assert (case["state"], "paid as much" in case["state_reason"]) == ("needs_human", True)
    assert of_case(shop, debt)[-1][1:] == ("abandoned", "expired")
    assert "expired" in customer.pays(page).text


def test_a_plan_that_sees_a_debt_paid_elsewhere_ends_its_page(shop: Shop, customer: Customer) -> None:
    made = declined(shop)
    debt = made["payment_intent"]
    page = customer.goes_to(link_for(shop, debt))
    pays_elsewhere(shop, made)
    shop.refresh()
    drain(shop)
    assert shop.case(debt)["state"] == "paid_elsewhere"
    assert of_case(shop, debt)[-1][1:] == ("abandoned", "expired")
    assert "expired" in customer.pays(page).text
    assert shop.open_anomalies(debt) == []


def test_a_plan_that_sees_the_page_paid_leaves_the_word_to_the_look(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    assert customer.pays(customer.goes_to(link_for(shop, debt))).status_code == 303
    shop.refresh()
    drain(shop)
    case = shop.case(debt)
    assert (case["state"], case["state_reason"]) == ("recovered", "after our mail (link)")
    assert shop.open_anomalies(debt) == []


@pytest.mark.parametrize("planned", [False, True])
def test_a_second_payment_on_the_page_is_told(shop: Shop, customer: Customer, planned: bool) -> None:
    made = declined(shop)
    debt = made["payment_intent"]
    page = customer.goes_to(link_for(shop, debt))
    pays_elsewhere(shop, made)
    if planned:
        shop.refresh()
    assert customer.pays(page).status_code == 303
    shop.advance(timedelta(hours=1))
    drain(shop)
    assert [one["kind"] for one in shop.open_anomalies(debt)] == ["paid_twice"]
    assert shop.case(debt)["state"] == ("paid_elsewhere" if planned else "needs_human")


@pytest.mark.parametrize("name", ["bank_debit", "bank_debit_fails"])
def test_a_bank_debit_is_waited_for_and_frees_its_debt_if_it_comes_back(
    shop: Shop, customer: Customer, name: str
) -> None:
    debt = declined(shop, days=3)["payment_intent"]
    link = link_for(shop, debt)
    assert customer.pays(customer.goes_to(link), name).status_code == 303
    page = page_of(shop, debt)["session_id"]
    for _ in range(3):
        shop.advance(timedelta(days=1))
        drain(shop)
    assert of_case(shop, debt) == [("checkout.session", "requires_action", "bank_debit")]
    assert shop.case(debt)["state"] == "open"
    assert customer.press(link).status_code == 503
    shop.advance(timedelta(days=4))
    drain(shop)
    if name == "bank_debit":
        assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)
        return
    first = page_of(shop, debt)
    assert status_of(shop.app.account().gateway, page) == "complete"
    assert (intent(shop, first["payment_intent_id"]), first["successor_id"] is None) == (
        "requires_payment_method",
        False,
    )
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)
