"""The sandbox's own pages: a browser pays an invoice or a session there, or keeps another card."""

from datetime import timedelta

import httpx
import pytest
import stripe

LINES = [
    {"price_data": {"currency": "usd", "unit_amount": 1200, "product_data": {"name": "x"}}, "quantity": 1}
]


@pytest.fixture(autouse=True)
def own(control):
    control.mode(pages="own")
    yield
    control.mode(pages="stripe")


def test_addresses_are_stripes_unless_asked_for(api, control):
    failed = control.fixture("failed_invoice", code="insufficient_funds", email="pages@example.com")[
        "invoice"
    ]
    own = api.v1.invoices.retrieve(failed).hosted_invoice_url
    control.mode(pages="stripe")
    assert own.startswith("http://127.0.0.1:")
    assert api.v1.invoices.retrieve(failed).hosted_invoice_url.startswith("https://invoice.stripe.com/i/")


def test_an_invoice_is_paid_on_its_page(api, control):
    failed = control.fixture("failed_invoice", code="insufficient_funds", email="payer@example.com")[
        "invoice"
    ]
    page = api.v1.invoices.retrieve(failed).hosted_invoice_url
    assert "<form" in httpx.get(page).text
    assert "declined" in httpx.post(page, data={"card": "pm_card_visa_chargeDeclined"}).text
    assert httpx.post(page, data={"card": "pm_card_visa"}).status_code == 200
    assert api.v1.invoices.retrieve(failed).status == "paid"
    assert "paid" in httpx.get(page).text
    assert len([one for one in control.charges_of(failed) if one["status"] == "succeeded"]) == 1


def test_a_session_leads_back_when_it_is_paid(api):
    made = api.v1.checkout.sessions.create(
        {"mode": "payment", "line_items": LINES, "success_url": "https://example.com/thanks"}
    )
    done = httpx.post(made.url, data={"card": "pm_card_visa"})
    assert (done.status_code, done.headers["location"]) == (303, "https://example.com/thanks")
    assert api.v1.checkout.sessions.retrieve(made.id).status == "complete"
    assert "complete" in httpx.get(made.url).text


def test_a_card_is_kept_in_the_portal(api):
    customer = api.v1.customers.create({"email": "keeps@example.com"}).id
    made = api.v1.billing_portal.sessions.create(
        {"customer": customer, "return_url": "https://example.com/back"}
    )
    done = httpx.post(made.url, data={"card": "pm_card_mastercard"})
    assert (done.status_code, done.headers["location"]) == (303, "https://example.com/back")
    assert [one.card.brand for one in api.v1.payment_methods.list({"customer": customer}).data] == [
        "mastercard"
    ]


def test_what_is_no_page_is_said_so(api):
    made = api.v1.checkout.sessions.create({"mode": "payment", "line_items": LINES})
    base = made.url.partition("/_pages/")[0]
    assert httpx.get(f"{base}/_pages/none/x").status_code == 404
    assert httpx.get(f"{base}/_pages/i/in_none").status_code == 404
    assert httpx.post(made.url, data={"card": "nonsense"}).status_code == 400
    assert api.v1.checkout.sessions.retrieve(made.id).status == "open"


def test_the_intent_of_a_page_goes_only_with_its_page(api):
    made = api.v1.checkout.sessions.create({"mode": "payment", "line_items": LINES})
    assert "declined" in httpx.post(made.url, data={"card": "pm_card_visa_chargeDeclined"}).text
    intent = api.v1.checkout.sessions.retrieve(made.id).payment_intent
    with pytest.raises(stripe.InvalidRequestError, match="created by a Checkout Session"):
        api.v1.payment_intents.cancel(intent)
    with pytest.raises(stripe.InvalidRequestError, match="created by a Checkout Session"):
        api.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    api.v1.checkout.sessions.expire(made.id)
    assert api.v1.payment_intents.retrieve(intent).status == "canceled"


@pytest.mark.parametrize(
    ("name", "of_page", "of_intent"),
    [("bank_debit", "paid", "succeeded"), ("bank_debit_fails", "unpaid", "requires_payment_method")],
)
def test_a_page_paid_by_bank_debit_is_complete_before_the_money_is_there(
    api, control, name, of_page, of_intent
):
    made = api.v1.checkout.sessions.create({"mode": "payment", "line_items": LINES})
    assert httpx.post(made.url, data={"card": name}).status_code == 200
    page = api.v1.checkout.sessions.retrieve(made.id)
    assert (page.status, page.payment_status) == ("complete", "unpaid")
    assert api.v1.payment_intents.retrieve(page.payment_intent).status == "processing"
    control.advance_to(control.now() + timedelta(days=7))
    assert api.v1.checkout.sessions.retrieve(made.id).payment_status == of_page
    assert api.v1.payment_intents.retrieve(page.payment_intent).status == of_intent
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        api.v1.checkout.sessions.expire(made.id)


def test_a_page_takes_as_many_keys_of_metadata_as_its_intent(api):
    many = {f"k{n}": "v" for n in range(51)}
    with pytest.raises(stripe.InvalidRequestError, match="50 keys"):
        api.v1.checkout.sessions.create(
            {"mode": "payment", "line_items": LINES, "payment_intent_data": {"metadata": many}}
        )
