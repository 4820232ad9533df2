"""\"Charge me on Friday\": inside the plan, kept in the history, and held by the database."""

from datetime import date, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from tests.retry.shop import Shop
from tests.web.counter import Customer, link_for
from tests.web.test_paying import declined, paid
from tinko_pipelines.ledger import attempts, cases
from tinko_pipelines.ledger.schema import case_event
from tinko_pipelines.retry.later import KIND, MOST, window


def choose(customer: Customer, link: str, day: date) -> tuple[int, str]:
    said = customer.press(link, "later", day=day.isoformat())
    return said.status_code, said.text


def test_the_next_retry_waits_for_the_day_that_was_chosen(shop: Shop, customer: Customer) -> None:
    debt = declined(shop, days=0.4)["payment_intent"]
    link, planned = link_for(shop, debt), shop.case(debt)["due_at"]
    assert 'type="date"' in customer.look(link).text
    day = planned.date() + timedelta(days=3)
    status, text = choose(customer, link, day)
    assert (status, "noted" in text) == (200, True)
    case = shop.case(debt)
    assert case["due_at"] == case["not_before"] == planned + timedelta(days=3)
    assert [row["kind"] for row in shop.rows(case_event) if row["case_id"] == case["id"]][-1] == "postponed"
    shop.refresh()
    shop.stripe.advance_to(planned + timedelta(hours=1))
    shop.app.drain(owner="test")
    assert shop.attempts(debt) == []
    with pytest.raises(IntegrityError, match="charged later"), shop.app.ledger.write() as connection:
        attempts.prepare(shop.app.ledger, connection, case, {}, api_version="v", owner="x",
                         at=shop.app.clock.now(), lease_seconds=1)  # fmt: skip
    shop.until_due(debt)
    shop.app.drain(owner="test")
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)


def test_no_other_day_can_be_chosen(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link, case = link_for(shop, debt), shop.case(debt)
    with shop.app.ledger.read() as connection:
        found = window(connection, case, shop.app.clock.now())
    assert found is not None
    assert found.last < case["plan_ends_at"].date() + timedelta(days=1)
    for day in (
        found.first - timedelta(days=1),
        found.last + timedelta(days=1),
        date(1970, 1, 1),
        date(9999, 12, 31),
    ):
        assert choose(customer, link, day)[0] == 409
    assert shop.case(debt)["due_at"] == case["due_at"]
    assert choose(customer, link, found.last)[0] == 200
    assert shop.case(debt)["due_at"] < case["plan_ends_at"]


def test_putting_off_to_the_same_day_again_leaves_no_trace_and_has_an_end(
    shop: Shop, customer: Customer
) -> None:
    debt = declined(shop)["payment_intent"]
    link, planned = link_for(shop, debt), shop.case(debt)["due_at"].date()
    before = len(shop.rows(case_event))
    for _ in range(3):
        assert choose(customer, link, planned + timedelta(days=1))[0] == 200
    assert len(shop.rows(case_event)) == before + 1
    with shop.app.ledger.write() as connection:
        for n in range(MOST - 1):
            cases.record(connection, shop.case(debt), shop.app.clock.now(), "link", KIND, detail=str(n))
    assert choose(customer, link, planned + timedelta(days=2))[0] == 409
    assert shop.case(debt)["due_at"].date() == planned + timedelta(days=1)


def test_where_no_retry_is_planned_no_day_is_offered(shop: Shop, customer: Customer) -> None:
    made = shop.stripe.fixture("failed_intent", codes=[[0, "lost_card"]], email="lost@example.com")
    shop.refresh()
    debt = made["payment_intent"]
    case = shop.case(debt)
    if case["state"] == "open":
        link = link_for(shop, debt)
        assert 'type="date"' not in customer.look(link).text
        assert choose(customer, link, case["plan_ends_at"].date())[0] == 409
        assert shop.case(debt)["due_at"] == case["due_at"]


def test_once_a_page_is_open_no_day_is_offered(shop: Shop, customer: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link, case = link_for(shop, debt), shop.case(debt)
    customer.goes_to(link)
    assert choose(customer, link, case["due_at"].date() + timedelta(days=1))[0] == 409


def test_the_page_one_comes_back_to_speaks_ones_language(customer: Customer) -> None:
    for language, word in (("de-AT,de;q=0.9", "Vielen Dank"), ("xx", "Thank you"), ("", "Thank you")):
        said = customer.http.get(f"{customer.base}/r/done", headers={"accept-language": language})
        assert (said.status_code, word in said.text) == (200, True)
