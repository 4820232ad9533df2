"""From a link to the money: Stripe's page for the same debt, paid once, whatever happens beside it."""

import time
from datetime import timedelta
from typing import Any

import pytest

from tests.retry.shop import LEASE_SECONDS, Shop, passing_later
from tests.web.counter import Customer, link_for, sessions
from tinko_pipelines.ledger.control import pause, resume
from tinko_pipelines.ledger.schema import attempt, checkout_session, recovery_link
from tinko_pipelines.retry.checkout_end import status_of
from tinko_pipelines.retry.files import stripe_shows, whole_case

STRUCK = "*/v1/checkout/sessions"


def declined(shop: Shop, kind: str = "failed_intent", days: float = 300, **more: Any) -> dict[str, Any]:
    number = len(shop.rows(recovery_link)) + len(shop.rows(attempt))
    made = shop.stripe.fixture(kind, codes=passing_later(shop, days), email=f"c{number}@example.com", **more)
    shop.refresh()
    return made


def soon_due(shop: Shop) -> str:
    """A debt whose card passes at its retry, two hours from now."""
    debt = str(declined(shop, days=0.4)["payment_intent"])
    shop.stripe.advance_to(shop.case(debt)["due_at"] - timedelta(hours=2))
    return debt


def of_case(shop: Shop, debt: str) -> list[tuple[str, str, str | None]]:
    return [(row["operation"], row["state"], row["answer"]) for row in shop.attempts(debt)]


def page_of(shop: Shop, debt: str) -> dict[str, Any]:
    """The newest; sessions have no order of their own, their attempts have one."""
    pages = {row["attempt_id"]: row for row in shop.rows(checkout_session)}
    return [pages[one["id"]] for one in shop.attempts(debt) if one["id"] in pages][-1]


def paid(shop: Shop, debt: str) -> int:
    """How many charges of the debt, under whichever intent of it, have brought money."""
    case = shop.case(debt)["id"]
    names = {debt, shop.case(debt)["live_object_id"]}
    names |= {row["object_id"] for row in shop.rows(attempt) if row["case_id"] == case}
    names |= {row["payment_intent_id"] for row in shop.rows(checkout_session) if row["case_id"] == case}
    charges = [one for name in names - {None} for one in shop.stripe.charges_of(name)]
    return sum(one["status"] == "succeeded" for one in charges)


def intent(shop: Shop, name: str) -> str:
    body = shop.app.account().gateway.get(f"/v1/payment_intents/{name}").body or {}
    return str(body["status"])


def drain(shop: Shop) -> None:
    time.sleep(LEASE_SECONDS + 0.1)
    shop.app.drain(owner="test")


def test_an_intent_is_paid_on_a_page_of_its_own(shop: Shop, customer: Customer) -> None:
    debt = declined(shop, order_id="77")["payment_intent"]
    link = link_for(shop, debt)
    assert "Go to payment" in customer.look(link).text
    page = customer.goes_to(link)
    assert page.startswith(shop.app.settings.stripe_api_base)
    assert of_case(shop, debt) == [("checkout.session", "requires_action", "open_page")]
    assert intent(shop, debt) == "canceled"
    assert customer.goes_to(link) == page
    assert "declined" in customer.pays(page, "pm_card_visa_chargeDeclined").text
    done = customer.pays(page)
    assert (done.status_code, done.headers["location"]) == (303, "https://pay.example.com/r/done")
    shop.advance(timedelta(minutes=5))
    shop.app.drain(owner="test")
    case, row = shop.case(debt), page_of(shop, debt)
    assert (case["state"], case["state_reason"]) == ("recovered", "after our mail (link)")
    assert case["live_object_id"] == case["payment_intent_id"] == row["payment_intent_id"]
    (used,) = [one for one in shop.rows(recovery_link) if one["case_id"] == case["id"]]
    assert used["used_at"] is not None
    assert used["clicks"] == 2
    assert "Thank you" in customer.look(link).text
    assert customer.press(link).status_code == 200
    assert len([one for one in sessions(shop) if one["metadata"]["tinko_case"] == case["id"]]) == 1
    charges = shop.stripe.charges_of(str(row["payment_intent_id"]))
    (charge,) = [one for one in charges if one["status"] == "succeeded"]
    assert (charge["amount"], charge["metadata"]["order_id"]) == (case["amount_minor"], "77")
    shop.refresh()
    (seen,) = [
        one
        for one in shop.app.lake.read_derived("failed_payments", "test").to_pylist()
        if one["debt_id"] == debt
    ]
    assert (seen["status"], seen["paid_charge_id"]) == ("paid", charge["id"])


def test_a_retry_that_falls_due_ends_the_page_and_charges_the_successor(
    shop: Shop, customer: Customer
) -> None:
    debt = soon_due(shop)
    page = customer.goes_to(link_for(shop, debt))
    before = shop.case(debt)
    shop.until_due(debt)
    row = page_of(shop, debt)
    assert status_of(shop.app.account().gateway, row["session_id"]) == "open"
    drain(shop)
    case, row = shop.case(debt), page_of(shop, debt)
    assert case["state"] == "recovered", case["state_reason"]
    assert case["state_reason"] == "our retry succeeded"
    assert of_case(shop, debt)[0] == ("checkout.session", "abandoned", "expired")
    assert case["live_object_id"] == row["successor_id"] != before["live_object_id"]
    assert status_of(shop.app.account().gateway, row["session_id"]) == "expired"
    assert "expired" in customer.pays(page).text
    assert paid(shop, debt) == 1


def test_a_page_is_left_to_its_customer_for_an_hour(shop: Shop, customer: Customer) -> None:
    debt = declined(shop, days=0.4)["payment_intent"]
    shop.stripe.advance_to(shop.case(debt)["due_at"] - timedelta(minutes=10))
    page = customer.goes_to(link_for(shop, debt))
    shop.advance(timedelta(minutes=40))
    drain(shop)
    assert of_case(shop, debt) == [("checkout.session", "requires_action", "open_page")]
    assert customer.pays(page).status_code == 303
    shop.advance(timedelta(minutes=21))
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)


def test_a_page_that_nobody_uses_ends_by_itself(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    due = shop.case(debt)["due_at"]
    link = link_for(shop, debt)
    customer.goes_to(link)
    shop.advance(timedelta(hours=23, minutes=1))
    drain(shop)
    case = shop.case(debt)
    assert of_case(shop, debt) == [("checkout.session", "abandoned", "expired")]
    assert (case["state"], case["due_at"]) == ("open", due)
    assert intent(shop, case["live_object_id"]) == "requires_payment_method"
    shop.refresh()
    assert shop.case(debt)["state"] == "open"
    again = customer.goes_to(link)
    assert customer.pays(again).status_code == 303
    shop.advance(timedelta(minutes=5))
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)


def test_a_webhook_hastens_and_its_absence_only_delays(shop: Shop, customer: Customer) -> None:
    late, early = (declined(shop)["payment_intent"] for _ in range(2))
    for debt in (late, early):
        assert customer.pays(customer.goes_to(link_for(shop, debt))).status_code == 303
    drain(shop)
    assert [shop.case(debt)["state"] for debt in (late, early)] == ["open", "open"]
    shop.event("checkout.session.completed", page_of(shop, early)["session_id"])
    drain(shop)
    assert [shop.case(debt)["state"] for debt in (late, early)] == ["open", "recovered"]
    shop.advance(timedelta(minutes=3))
    drain(shop)
    assert shop.case(late)["state"] == "recovered"


def test_an_invoice_is_paid_on_its_own_page(shop: Shop, customer: Customer) -> None:
    debt = declined(shop, "failed_invoice")["invoice"]
    link = link_for(shop, debt)
    page = customer.goes_to(link)
    assert customer.pays(page).status_code == 200
    assert of_case(shop, debt) == []
    shop.event("invoice.paid", debt)
    drain(shop)
    case = shop.case(debt)
    assert (case["state"], case["state_reason"]) == (
        "paid_elsewhere",
        "after our mail (link): invoice is paid",
    )
    assert "Thank you" in customer.press(link).text
    assert [
        row["used_at"] is not None for row in shop.rows(recovery_link) if row["case_id"] == case["id"]
    ] == [True]


def test_a_card_changed_in_the_portal_is_the_one_that_is_tried(shop: Shop, customer: Customer) -> None:
    made = declined(shop, "failed_invoice")
    debt = made["invoice"]
    before = shop.case(debt)["payment_method_id"]
    portal = customer.goes_to(link_for(shop, debt), "card")
    assert "/_pages/p/session/" in portal
    back = customer.pays(portal, "pm_card_mastercard")
    assert back.headers["location"] == "https://pay.example.com/r/done"
    shop.refresh()
    assert shop.case(debt)["payment_method_id"] not in (None, before)
    shop.advance(timedelta(days=1))
    drain(shop)
    assert shop.case(debt)["state"] == "recovered"
    (charge,) = [one for one in shop.stripe.charges_of(debt) if one["status"] == "succeeded"]
    assert charge["payment_method_details"]["card"]["brand"] == "mastercard"


@pytest.mark.parametrize("deed", ["pay", "cancel_intent", "delete_customer"])
def test_what_happened_meanwhile_is_seen_before_a_page_is_made(
    shop: Shop, customer: Customer, deed: str
) -> None:
    made = declined(shop)
    debt = made["payment_intent"]
    link = link_for(shop, debt)
    if deed == "pay":
        assert shop.stripe.act("pay", debt, card="fresh") == {"paid": True}
    else:
        shop.stripe.act(deed, made["customer"] if deed == "delete_customer" else debt)
    said = customer.press(link)
    assert said.status_code == 200
    assert ("has been made" if deed == "pay" else "no longer open") in said.text
    assert of_case(shop, debt) == []
    drain(shop)
    if deed != "delete_customer":  # That is seen when a retry falls due.
        assert shop.case(debt)["state"] == ("paid_elsewhere" if deed == "pay" else "cancelled")
    assert customer.press(link).status_code == 200


def test_nothing_is_made_while_charging_is_paused(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    pause(shop.app.ledger, "default", "incident", "me", shop.app.clock.now())
    assert customer.press(link_for(shop, debt)).status_code == 503
    assert (of_case(shop, debt), intent(shop, debt)) == ([], "requires_payment_method")
    resume(shop.app.ledger, "default", "over", "me", shop.app.clock.now())


def test_while_a_retry_is_under_way_no_page_is_made(shop: Shop, customer: Customer) -> None:
    debt = declined(shop, days=0.4)["payment_intent"]
    link = link_for(shop, debt)
    shop.until_due(debt)
    shop.stripe.faults([{"kind": "error_after", "path": "*/confirm", "count": 1}])
    shop.app.drain(owner="test")
    if shop.attempts(debt)[-1]["state"] == "unknown":
        assert "under way" in customer.press(link).text
    shop.advance(timedelta(hours=21))
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)
    assert [row["operation"] for row in shop.attempts(debt)] == ["payment_intent.confirm"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["error_after", "reset_before", "html"])
@pytest.mark.parametrize("where", ["*/cancel", STRUCK])
def test_trouble_on_the_line_blocks_until_it_is_known(
    shop: Shop, customer: Customer, kind: str, where: str
) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    shop.stripe.faults([{"kind": kind, "path": where, "method": "POST", "count": 1}])
    first = customer.press(link)
    if first.status_code != 303:
        assert first.status_code == 503
        assert [state for _, state, _ in of_case(shop, debt)] == ["unknown"]
    shop.advance(timedelta(minutes=1))
    page = customer.goes_to(link)
    assert customer.goes_to(link) == page
    shop.advance(timedelta(hours=23, minutes=2))
    for _ in range(30):  # An answer of 500 is kept under its key for a day.
        shop.app.drain(owner="test")
        if of_case(shop, debt)[-1][1] == "abandoned":
            break
        shop.advance(timedelta(hours=1))
    shop.stripe.faults([])
    assert of_case(shop, debt)[-1][1:] == ("abandoned", "expired")
    last = customer.goes_to(link)
    assert customer.pays(last).status_code == 303
    shop.advance(timedelta(minutes=5))
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["error_after", "reset_before", "html"])
@pytest.mark.parametrize("where", ["*/expire", "*/v1/payment_intents"])
def test_trouble_at_the_end_of_a_page_delays_the_retry(
    shop: Shop, customer: Customer, kind: str, where: str
) -> None:
    debt = soon_due(shop)
    page = customer.goes_to(link_for(shop, debt))
    shop.stripe.faults([{"kind": kind, "path": where, "method": "POST", "count": 1}])
    shop.until_due(debt)
    for _ in range(30):  # An answer of 500 is kept under its key for a day.
        shop.app.drain(owner="test")
        if shop.case(debt)["state"] != "open":
            break
        shop.advance(timedelta(hours=1))
    shop.stripe.faults([])
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)
    assert "expired" in customer.pays(page).text


def test_a_person_sees_pages_and_how_they_stand(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    customer.goes_to(link_for(shop, debt))
    found = whole_case(shop.app.ledger, debt)
    assert len(found["links"]) == len(found["pages"]) == 1
    gateway = shop.app.account().gateway
    shown = stripe_shows(gateway, found["case"][0], found["pages"])["pages"]
    assert shown == [{"session_id": found["pages"][0]["session_id"], "status": "open"}]
    assert status_of(gateway, "cs_none") == "not found"


def test_many_pages_in_a_few_minutes_are_no_fault_of_stripes(shop: Shop, customer: Customer) -> None:
    for _ in range(6):
        customer.goes_to(link_for(shop, declined(shop)["payment_intent"]))
    debt = soon_due(shop)
    for _ in range(6):
        customer.goes_to(link_for(shop, declined(shop)["payment_intent"]))
    shop.until_due(debt)
    shop.app.drain(owner="test")
    assert shop.app.pauses() == []
    assert shop.case(debt)["state"] == "recovered"


def test_a_page_that_does_not_end_goes_to_a_person_and_is_settled_in_the_end(
    shop: Shop, customer: Customer
) -> None:
    debt = declined(shop)["payment_intent"]
    customer.goes_to(link_for(shop, debt))
    shop.stripe.faults([{"kind": "error_before", "method": "GET", "path": "*/v1/checkout/sessions/*"}])
    for _ in range(3):
        shop.advance(timedelta(hours=17))
        shop.app.drain(owner="test")
    assert "does not come to its end" in shop.case(debt)["state_reason"]
    shop.stripe.faults([])
    shop.advance(timedelta(hours=1))
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "open"
    assert of_case(shop, debt)[-1] == ("checkout.session", "abandoned", "expired")
