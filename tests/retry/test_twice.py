"""Money that came twice for one debt: written down with what to give back, and a person decides."""

from typing import Any

import pytest

from tests.retry.shop import Shop, passing_later
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.retry.preflight import View


def due(shop: Shop, name: str) -> dict[str, Any]:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop), email=f"{name}@example.com")
    shop.refresh()
    shop.until_due(made["invoice"])
    return made


def due_intent(shop: Shop) -> str:
    debt = str(shop.stripe.fixture("failed_intent", codes=passing_later(shop))["payment_intent"])
    shop.refresh()
    shop.until_due(debt)
    return debt


def second_charge(shop: Shop, made: dict[str, Any]) -> str:
    return str(shop.stripe.fixture("bypass_charge", debt=made["invoice"])["charge"])


def noted(shop: Shop, made: dict[str, Any], charge: str) -> None:
    """One incident with a proposal, and nothing given back by ourselves."""
    (found,) = shop.open_anomalies(made["invoice"])
    assert (found["kind"], found["charge_id"]) == ("paid_twice", charge)
    assert (found["amount_minor"], found["currency"]) == (1900, "usd")
    assert f"refund charge {charge}: 19.00 USD" in found["proposal"]
    assert {each["amount_refunded"] for each in shop.stripe.charges_of(made["invoice"])} == {0}


def test_seen_before_a_call(shared_shop: Shop) -> None:
    shop = shared_shop
    made = due(shop, "preflight")
    shop.stripe.act("pay", made["invoice"])
    charge = second_charge(shop, made)
    watched = shop.watch()
    shop.app.drain(owner="test")
    case = shop.case(made["invoice"])
    assert (watched.charging(), case["state"]) == ([], "needs_human")
    assert charge in case["state_reason"]
    noted(shop, made, charge)


def test_seen_by_the_janitor(shared_shop: Shop) -> None:
    shop = shared_shop
    made = due(shop, "janitor")

    def pay_again(boundary: str) -> None:
        if boundary == "before_http":
            shop.stripe.faults([{"kind": "reset_after", "path": f"*/{made['invoice']}/pay", "count": 1}])
        if boundary == "janitor_before_get":
            second_charge(shop, made)

    shop.app.drain(owner="test", boundary=pay_again)
    (row,) = shop.attempts(made["invoice"])
    late = shop.stripe.charges_of(made["invoice"])[-1]["id"]
    assert (row["state"], shop.case(made["invoice"])["state"]) == ("succeeded", "needs_human")
    assert row["charge_id"] != late
    noted(shop, made, late)


@pytest.mark.parametrize("ended", [False, True])
def test_seen_by_the_inbox(shared_shop: Shop, ended: bool) -> None:
    shop = shared_shop
    made = due(shop, f"inbox{ended}")
    if ended:
        shop.app.drain(owner="test")
        assert shop.case(made["invoice"])["state"] == "recovered"
    else:
        shop.stripe.act("pay", made["invoice"])
    charge = second_charge(shop, made)
    shop.event("invoice.paid", made["invoice"])
    shop.app.drain(owner="test")
    assert shop.case(made["invoice"])["state"] == ("recovered" if ended else "needs_human")
    noted(shop, made, charge)
    shop.event("payment_intent.succeeded", made["payment_intent"])
    shop.app.drain(owner="test")
    noted(shop, made, charge)


def test_a_success_that_comes_after_the_case_has_ended(shop: Shop) -> None:
    debt = due_intent(shop)

    def end(boundary: str) -> None:
        if boundary == "before_settle":
            with shop.app.ledger.write() as connection:
                connection.execute(recovery_case.update().values(state="cancelled"))

    shop.app.drain(owner="test", boundary=end)
    (row,) = shop.attempts(debt)
    (found,) = shop.open_anomalies(debt)
    assert (row["state"], shop.case(debt)["state"]) == ("succeeded", "cancelled")
    assert (found["kind"], found["charge_id"]) == ("success_after_end", row["charge_id"])
    assert "refund" in found["proposal"]


def test_a_success_of_an_attempt_that_was_given_up_meanwhile(shop: Shop) -> None:
    debt = due_intent(shop)

    def slow(boundary: str) -> None:
        if boundary == "before_settle":
            with shop.app.ledger.write() as connection:
                connection.execute(attempt.update().values(state="abandoned", fence=attempt.c.fence + 1))

    shop.app.drain(owner="test", boundary=slow)
    (row,) = shop.attempts(debt)
    (found,) = shop.open_anomalies(debt)
    assert row["state"] == "abandoned"
    assert found["kind"] == "success_after_end"
    assert found["charge_id"] == shop.stripe.charges_of(debt)[-1]["id"]


def test_parts_of_one_sum_are_no_second_payment() -> None:
    def view(*amounts: int, refunded: int = 0) -> View:
        charges = tuple(
            {"id": f"ch_{number}", "status": "succeeded", "amount": amount, "amount_refunded": refunded}
            for number, amount in enumerate(amounts)
        )
        return View("paid", "", charges, body={"amount_due": 1000})

    assert view(400, 600).paid_twice == ()
    assert view(1000, 1000, refunded=1000).paid_twice == ()
    assert [charge["id"] for charge in view(1000, 1000).paid_twice] == ["ch_0", "ch_1"]
