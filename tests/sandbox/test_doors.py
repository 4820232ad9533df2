"""Checkout, the portal, test clocks, and what people outside Stripe do when told to."""

from datetime import timedelta

import pytest
import stripe

from tinko_pipelines.errors import GatewayError

LINES = [
    {"price_data": {"currency": "usd", "unit_amount": 1200, "product_data": {"name": "Order"}}, "quantity": 2}
]


def test_a_checkout_session_is_paid_by_its_customer(api, control):
    customer = api.v1.customers.create({"email": "checkout@example.com"})
    session = api.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer.id,
            "line_items": LINES,
            "success_url": "https://example.com/thanks",
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"case": "7"}},
        }
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2400)
    assert session.url.startswith("https://")
    declined = control.act("complete_session", session.id, card="pm_card_visa_chargeDeclined")
    assert declined == {"paid": False}
    assert control.act("complete_session", session.id, card="pm_card_visa") == {"paid": True}
    done = api.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    intent = api.v1.payment_intents.retrieve(done.payment_intent)
    assert (intent.status, intent.amount_received, intent.metadata["case"]) == ("succeeded", 2400, "7")
    assert api.v1.payment_methods.retrieve(intent.payment_method).customer == customer.id
    assert api.v1.events.list({"type": "checkout.session.completed"}).data[0].data.object["id"] == session.id
    with pytest.raises(GatewayError, match="complete"):
        control.act("complete_session", session.id, card="pm_card_visa")


def test_sessions_expire_by_request_and_by_time(api, control):
    make = lambda: api.v1.checkout.sessions.create({"mode": "payment", "line_items": LINES})  # noqa: E731
    one, other = make(), make()
    assert api.v1.checkout.sessions.expire(one.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="status of expired"):
        api.v1.checkout.sessions.expire(one.id)
    control.advance_to(control.now() + timedelta(days=1))
    assert api.v1.checkout.sessions.retrieve(other.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="same currency"):
        price = {"price_data": {"currency": "eur", "unit_amount": 5, "product_data": {"name": "x"}}}
        api.v1.checkout.sessions.create({"mode": "payment", "line_items": [*LINES, price]})


def test_a_setup_session_saves_a_card(api, control):
    customer = api.v1.customers.create({"email": "setup@example.com"}).id
    session = api.v1.checkout.sessions.create({"mode": "setup", "customer": customer})
    control.act("complete_session", session.id, card="pm_card_mastercard")
    assert [one.card.brand for one in api.v1.payment_methods.list({"customer": customer}).data] == [
        "mastercard"
    ]


def test_the_portal(api):
    customer = api.v1.customers.create({"email": "portal@example.com"}).id
    made = api.v1.billing_portal.sessions.create({"customer": customer, "return_url": "https://example.com"})
    assert made.url.startswith("https://billing.stripe.com/")


def test_test_clocks_move_the_one_time_there_is(api, control):
    now = int(control.now().timestamp())
    clock = api.v1.test_helpers.test_clocks.create({"frozen_time": now, "name": "mine"})
    moved = api.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": now + 3_600})
    assert (moved.status, moved.frozen_time) == ("ready", now + 3_600)
    assert int(control.now().timestamp()) == now + 3_600
    with pytest.raises(stripe.InvalidRequestError, match="cannot go back"):
        api.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": now})


def test_refunds_and_disputes_by_the_world(api, control):
    refunded = control.fixture("failed_intent", code=None, email="refunded@example.com")
    control.act("refund", refunded["payment_intent"], amount_minor=100)
    control.act("refund", refunded["payment_intent"])
    assert [one.amount for one in api.v1.refunds.list({"charge": refunded["charge"]}).data] == [2400, 100]
    disputed = control.fixture("failed_invoice", code=None, email="disputed@example.com")
    control.act("dispute", disputed["invoice"])
    dispute = api.v1.disputes.list({"charge": disputed["charge"]}).data[0]
    assert (dispute.status, dispute.amount) == ("needs_response", 1900)
    assert api.v1.charges.retrieve(disputed["charge"]).disputed
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.refunds.create({"charge": disputed["charge"]})
    assert caught.value.code == "charge_disputed"
    control.advance_to(control.now() + timedelta(days=21))
    assert api.v1.disputes.retrieve(dispute.id).status == "lost"


def test_mail_moves_people_and_the_same_mail_only_once(api, control):
    acted = 0
    for number in range(30):
        made = control.fixture("failed_invoice", code="lost_card", email=f"reader{number}@example.com")
        assert control.mail(made["customer"], f"m{number}", made["invoice"])["times"] == 1
        assert control.mail(made["customer"], f"m{number}", made["invoice"])["times"] == 2
    control.advance_to(control.now() + timedelta(days=7))
    for number in range(30):
        customer = api.v1.customers.list({"email": f"reader{number}@example.com"}).data[0].id
        acted += api.v1.charges.list({"customer": customer, "limit": 5}).data[0].created > 0
    audit = control.book()
    assert (audit["mails_delivered_twice"], acted) == (30, 30)
    visits = sum(
        len(api.v1.charges.list({"customer": one.id}).data) > 1
        for one in api.v1.customers.list({"limit": 100}).auto_paging_iter()
        if one.email.startswith("reader")
    )
    assert 0 < visits < 15
    with pytest.raises(GatewayError, match="No such customer"):
        control.mail("cus_none", "m", "in_none")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda control: control.fixture("unicorn"), "kind is one of"),
        (lambda control: control.fixture("customer", colour="red"), "colour"),
        (lambda control: control.act("dance", "in_1"), "do is one of"),
        (lambda control: control.act("pay", "in_none"), "No such invoice"),
        (lambda control: control.mode(stripe_retries="maybe"), "one of mixed"),
        (lambda control: control.charges_of("ch_none"), "No such charge"),
        (lambda control: control.limit(-1), "above 0"),
    ],
)
def test_the_control_api_refuses_in_one_sentence(control, call, said):
    with pytest.raises(GatewayError, match=said):
        call(control)


def test_events_name_the_request_that_caused_them_and_no_other(api, control):
    customer = api.v1.customers.create({"email": "cause@example.com"}, {"idempotency_key": "cause-1"})
    event = api.v1.events.list({"type": "customer.created", "limit": 1}).data[0]
    assert event.request.id == customer.last_response.request_id
    assert event.request.idempotency_key == "cause-1"
    made = control.fixture("failed_invoice", stripe_retries=True, email="automatic@example.com")
    now = int(control.now().timestamp())
    api.v1.test_helpers.test_clocks.create({"frozen_time": now + 3 * 86_400})
    retried = api.v1.events.list({"type": "invoice.payment_failed", "limit": 20}).data
    assert next(one for one in retried if one.data.object["id"] == made["invoice"]).request.id is None
