"""Pages that cannot be made, read or shown: nothing is cancelled for them, and none holds a debt up for ever."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.retry.shop import Shop
from tests.web.counter import Customer, link_for, sessions
from tests.web.test_paying import declined, drain, intent, of_case, page_of, paid, soon_due
from tests.web.twisted import Twisted, twisting
from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import links
from tinko_pipelines.ledger.control import pause, resume
from tinko_pipelines.ledger.schema import recovery_case
from tinko_pipelines.retry.desk import Desk
from tinko_pipelines.settings import load_settings

PAGES = "/v1/checkout/sessions"
pytestmark = pytest.mark.parametrize("shop", ["sqlite"], indirect=True)


@pytest.fixture
def twisted(shop: Shop) -> Iterator[Twisted]:
    with twisting(shop) as made:
        yield made


def shown_as(twisted: Twisted, name: str, status: str | None) -> None:
    """Let a page have another status than it has."""

    def on_get(path: str) -> Answer | None:
        if path != f"{PAGES}/{name}":
            return None
        return Answer(200, body=dict(twisted.real.get(path).body or {}) | {"status": status})

    twisted.on_get = on_get


def desk(shop: Shop, twisted: Twisted, *, apply: bool = True) -> Desk:
    return Desk(shop.app.ledger, lambda _name: twisted, shop.app.clock.now(), "me", apply=apply)


@pytest.mark.parametrize("status", [None, "paused"])
def test_a_status_nobody_knows_is_unknown(
    shop: Shop, customer: Customer, twisted: Twisted, status: str | None
) -> None:
    debt = soon_due(shop)
    page = customer.goes_to(link_for(shop, debt))
    shown_as(twisted, page_of(shop, debt)["session_id"], status)
    shop.until_due(debt)
    drain(shop)
    assert of_case(shop, debt) == [("checkout.session", "requires_action", "open_page")]
    twisted.straight()
    assert customer.pays(page).status_code == 303
    shop.advance(timedelta(minutes=31))
    drain(shop)
    assert (shop.case(debt)["state"], paid(shop, debt)) == ("recovered", 1)


@pytest.mark.parametrize("retried", [True, False])
def test_a_page_that_was_given_up_and_is_paid_is_told(
    shop: Shop, customer: Customer, twisted: Twisted, retried: bool
) -> None:
    debt = soon_due(shop) if retried else str(declined(shop)["payment_intent"])
    page = customer.goes_to(link_for(shop, debt))
    name = page_of(shop, debt)["session_id"]
    shown_as(twisted, name, "expired")
    if retried:
        shop.until_due(debt)
    else:
        shop.advance(timedelta(hours=1))
    drain(shop)
    assert of_case(shop, debt)[0][1] == "abandoned"
    twisted.straight()
    assert customer.pays(page).status_code == 303
    shop.event("checkout.session.completed", name)
    drain(shop)
    case = shop.case(debt)
    if retried:
        assert [one["kind"] for one in shop.open_anomalies(debt)] == ["paid_twice"]
    else:
        assert (case["state"], shop.open_anomalies(debt)) == ("paid_elsewhere", [])
        assert "had been given up" in case["state_reason"]


def test_without_the_right_to_make_pages_nothing_is_cancelled_and_charging_goes_on(
    shop: Shop, customer: Customer, twisted: Twisted
) -> None:
    debt, other = soon_due(shop), declined(shop)["payment_intent"]
    customer.goes_to(link_for(shop, other))
    refused = Answer(403, error_type="invalid_request_error", message="lacks rak_checkout_session_write")
    twisted.on_get = twisted.on_post = lambda path: refused if path.startswith(PAGES) else None
    link = link_for(shop, debt)
    for _ in range(2):
        assert customer.press(link).status_code == 200
    assert (of_case(shop, debt)[-1][1:], intent(shop, debt)) == (
        ("abandoned", "no_page"),
        "requires_payment_method",
    )
    shop.until_due(debt)
    drain(shop)
    assert (shop.app.pauses(), shop.case(debt)["state"]) == ([], "recovered")
    assert [one["kind"] for one in shop.open_anomalies(debt)] == ["pages_refused"]
    twisted.straight()
    shop.advance(timedelta(hours=24))
    drain(shop)
    assert of_case(shop, other)[-1][1:] == ("abandoned", "expired")


def test_an_intent_with_as_much_metadata_as_stripe_takes_gets_its_page(
    shop: Shop, customer: Customer
) -> None:
    debt = declined(shop)["payment_intent"]
    gateway, metadata = shop.app.account().gateway, {f"k{n}": "v" for n in range(49)}
    assert gateway.post(f"/v1/payment_intents/{debt}", {"metadata": metadata}, debt, gateway.api_version).ok
    customer.goes_to(link_for(shop, debt))
    shop.advance(timedelta(hours=23, minutes=5))
    drain(shop)
    live = (
        shop.app.account().gateway.get(f"/v1/payment_intents/{shop.case(debt)['live_object_id']}").body or {}
    )
    assert (live["status"], live["metadata"]["order_id"]) == ("requires_payment_method", "order-fixture")


def test_a_page_offers_what_pays_at_once(shop: Shop, customer: Customer) -> None:
    page = customer.goes_to(link_for(shop, declined(shop)["payment_intent"]))
    assert customer.pays(page, "bank_debit").status_code == 400
    assert customer.pays(page).status_code == 303


def test_a_page_that_stripe_refuses_leaves_the_debt_as_it_was(
    shop: Shop, customer: Customer, twisted: Twisted
) -> None:
    debt = soon_due(shop)
    no = Answer(400, error_type="invalid_request_error", message="no", body={"error": {}})
    twisted.on_post = lambda path: no if path == PAGES else None
    assert customer.press(link_for(shop, debt)).status_code == 200
    case = shop.case(debt)
    assert (case["live_object_id"], intent(shop, debt), case["state"]) == (
        debt,
        "requires_payment_method",
        "open",
    )
    twisted.straight()
    shop.until_due(debt)
    drain(shop)
    assert shop.case(debt)["state_reason"] == "our retry succeeded"


@pytest.mark.parametrize("at", ["page_after_create", "page_after_cancel_seen"])
@pytest.mark.parametrize("what", ["stop", "pause"])
def test_who_is_stopped_while_his_page_is_made_is_not_led_there(
    shop: Shop, twisted: Twisted, at: str, what: str
) -> None:
    debt = declined(shop)["payment_intent"]
    token = link_for(shop, debt).rpartition("/")[2]

    def boundary(name: str) -> None:
        if name == at and what == "stop":
            desk(shop, twisted).stop(debt, "order cancelled")
        elif name == at:
            pause(shop.app.ledger, "default", "incident", "me", shop.app.clock.now())

    with shop.app.ledger.read() as connection:
        found = links.find(connection, token)
    assert found is not None
    way = shop.app.account().till("web:1", boundary).pay(found[0])
    if what == "pause":
        resume(shop.app.ledger, "default", "over", "me", shop.app.clock.now())
    case = shop.case(debt)
    assert (way.url, way.standing) == (None, "ask" if what == "stop" else "wait")
    assert case["state"] == ("exhausted" if what == "stop" else "open")
    assert of_case(shop, debt)[-1][1] == "abandoned"
    assert [one["status"] for one in sessions(shop) if one["metadata"]["tinko_debt"] == debt] == ["expired"]
    assert intent(shop, case["live_object_id"]) == "requires_payment_method"


def test_a_page_that_could_not_be_read_for_a_week_is_looked_for_all_the_same(
    shop: Shop, customer: Customer, twisted: Twisted
) -> None:
    by_itself, by_a_person = (declined(shop)["payment_intent"] for _ in range(2))
    down = Answer(None, transport_error="timeout")
    twisted.on_get = twisted.on_post = lambda path: down if path == PAGES else None
    for debt in (by_itself, by_a_person):
        assert customer.press(link_for(shop, debt)).status_code == 503
    for _ in range(8):
        shop.advance(timedelta(hours=24))
        drain(shop)
    assert [of_case(shop, debt)[-1][1] for debt in (by_itself, by_a_person)] == ["unknown"] * 2
    with pytest.raises(InputError, match="must come first"):
        desk(shop, twisted).resolve(by_a_person, "cancelled", "x")
    twisted.straight()
    assert desk(shop, twisted, apply=False).resolve(by_a_person, "cancelled", "x").changes
    assert desk(shop, twisted).resolve(by_a_person, "cancelled", "x").done
    shop.advance(timedelta(hours=25))
    drain(shop)
    assert [of_case(shop, debt)[-1][1] for debt in (by_itself, by_a_person)] == ["abandoned"] * 2
    assert shop.case(by_a_person)["state"] == "cancelled"


def test_a_card_tried_in_vain_on_a_page_leaves_the_plan_and_the_debt_as_they_are(
    shop: Shop, customer: Customer, tmp_path: Path
) -> None:
    debt = declined(shop, days=6)["payment_intent"]
    shop.stripe.advance_to(shop.case(debt)["due_at"] - timedelta(hours=1))
    before = shop.case(debt)
    customer.pays(customer.goes_to(link_for(shop, debt)), "pm_card_visa_chargeDeclined")
    shop.refresh()
    assert of_lake(shop.app, debt)["status"] == "open"
    shop.advance(timedelta(hours=23, minutes=5))
    drain(shop)
    shop.refresh()
    row, after = of_lake(shop.app, debt), shop.case(debt)
    named = ("move", "payment_method_id", "plan", "max_attempts")
    assert {name: after[name] for name in named} == {name: before[name] for name in named}
    assert (row["status"], row["payment_intent_id"]) == ("open", after["live_object_id"])
    base = shop.app.settings.stripe_api_base
    lost = App(
        load_settings(state=tmp_path, stripe_api_base=base, clock="sandbox", stripe_requests_per_second=1000)
    )
    lost.ingest_changes()
    lost.plan()
    with lost.ledger.read() as connection:
        anew = select(recovery_case.c.live_object_id).where(recovery_case.c.debt_id == debt)
        assert connection.execute(anew).scalars().all() == [after["live_object_id"]]
    lost.ledger.close()


def of_lake(app: App, debt: str) -> dict[str, object]:
    rows = app.lake.read_derived("failed_payments", "test").to_pylist()
    (found,) = [row for row in rows if row["debt_id"] == debt]
    return found
