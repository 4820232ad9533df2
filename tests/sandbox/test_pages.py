"""The sandbox's own pages: a browser pays an invoice or a session there, or keeps another card."""

import httpx
import pytest

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
