"""Invoices and subscriptions: collecting, Stripe's own retries, standing, ending."""

from datetime import timedelta

import pytest
import stripe


def test_an_open_invoice_is_paid_once(api, control):
    at = int(control.now().timestamp())
    made = control.fixture("failed_invoice", passes_at=at + 3600, email="pays@example.com", amount_minor=1900)
    invoice = api.v1.invoices.retrieve(made["invoice"])
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert (invoice.amount_remaining, invoice.next_payment_attempt) == (1900, None)
    subscription = api.v1.subscriptions.retrieve(made["subscription"])
    assert (subscription.status, subscription.latest_invoice) == ("past_due", invoice.id)
    assert api.v1.customers.retrieve(made["customer"]).delinquent
    with pytest.raises(stripe.CardError) as caught:
        api.v1.invoices.pay(invoice.id, {"off_session": True})
    assert caught.value.error.decline_code == "insufficient_funds"
    control.advance_to(control.now() + timedelta(hours=1))
    paid = api.v1.invoices.pay(invoice.id, {"off_session": True})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 1900, 0)
    assert paid.status_transitions.paid_at == at + 3600
    link = api.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert (link.status, link.amount_paid, link.is_default) == ("paid", 1900, True)
    assert api.v1.payment_intents.retrieve(link.payment.payment_intent).status == "succeeded"
    assert api.v1.subscriptions.retrieve(made["subscription"]).status == "active"
    assert not api.v1.customers.retrieve(made["customer"]).delinquent
    with pytest.raises(stripe.InvalidRequestError, match="already paid") as again:
        api.v1.invoices.pay(invoice.id)
    assert again.value.http_status == 400
    assert [one["status"] for one in control.charges_of(invoice.id)] == ["failed", "failed", "succeeded"]


def test_confirming_the_intent_of_an_invoice_pays_it(api, control):
    made = control.fixture("failed_invoice", email="confirms@example.com")
    control.act("attach_card", made["customer"])
    method = api.v1.customers.retrieve(made["customer"]).invoice_settings.default_payment_method
    api.v1.payment_intents.confirm(made["payment_intent"], {"payment_method": method, "off_session": True})
    assert api.v1.invoices.retrieve(made["invoice"]).status == "paid"


def test_a_new_card_is_the_one_that_is_charged(api, control):
    made = control.fixture("failed_invoice", code="lost_card", email="newcard@example.com")
    control.act("attach_card", made["customer"])
    subscription = api.v1.subscriptions.retrieve(made["subscription"])
    assert subscription.default_payment_method != made["payment_method"]
    assert api.v1.invoices.pay(made["invoice"]).status == "paid"
    assert control.charges_of(made["invoice"])[-1]["payment_method"] == subscription.default_payment_method


def test_stripe_retries_by_itself_and_then_stops(api, control):
    began = control.now()
    made = control.fixture("failed_invoice", stripe_retries=True, email="smart@example.com")
    look = lambda: api.v1.invoices.retrieve(made["invoice"])  # noqa: E731
    for tries, days in enumerate((3, 5, 7), start=1):
        at = began + timedelta(days=days)
        assert look().next_payment_attempt == int(at.timestamp())
        control.advance_to(at - timedelta(seconds=1))
        assert len(control.charges_of(made["invoice"])) == tries
        control.advance_to(at)
        assert len(control.charges_of(made["invoice"])) == tries + 1
        assert look().attempt_count == tries + 1
    assert (look().next_payment_attempt, look().status) == (None, "open")
    assert api.v1.subscriptions.retrieve(made["subscription"]).status == "past_due"
    retried = api.v1.events.list({"type": "charge.failed", "limit": 1}).data[0]
    assert retried.request.id is None


def test_stripe_does_not_retry_hard_declines_or_when_switched_off(api, control):
    hard = control.fixture(
        "failed_invoice", code="stolen_card", stripe_retries=True, email="hard@example.com"
    )
    assert api.v1.invoices.retrieve(hard["invoice"]).next_payment_attempt is None
    soft = control.fixture("failed_invoice", stripe_retries=True, email="soft@example.com")
    assert api.v1.invoices.retrieve(soft["invoice"]).next_payment_attempt
    control.mode(stripe_retries="off")
    assert api.v1.invoices.retrieve(soft["invoice"]).next_payment_attempt is None
    control.mode(stripe_retries="on")
    late = control.fixture("failed_invoice", stripe_retries=False, email="late@example.com")
    assert api.v1.invoices.retrieve(late["invoice"]).next_payment_attempt
    assert control.book()["stripe_retries"] == "on"
    control.mode(stripe_retries="mixed")
    stopped = api.v1.invoices.update(late["invoice"], {"auto_advance": False})
    assert stopped.next_payment_attempt is None


def test_voiding_and_cancelling(api, control):
    made = control.fixture("failed_invoice", stripe_retries=True, email="voids@example.com")
    assert api.v1.subscriptions.cancel(made["subscription"]).status == "canceled"
    invoice = api.v1.invoices.retrieve(made["invoice"])
    assert (invoice.status, invoice.next_payment_attempt) == ("open", None)
    voided = api.v1.invoices.void_invoice(made["invoice"])
    assert voided.status == "void"
    assert api.v1.payment_intents.retrieve(made["payment_intent"]).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="this one is void"):
        api.v1.invoices.pay(made["invoice"])
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.subscriptions.cancel(made["subscription"])
    assert caught.value.http_status == 404


def test_subscriptions_made_through_the_api_are_billed_by_period(api, control):
    customer = api.v1.customers.create(
        {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    price = api.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 700,
            "recurring": {"interval": "week"},
            "product_data": {"name": "Box"},
        }
    )
    made = api.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id, "quantity": 2}]}
    )
    assert made.status == "active"
    first = api.v1.invoices.retrieve(made.latest_invoice)
    assert (first.amount_paid, first.billing_reason) == (1400, "subscription_create")
    control.advance_to(control.now() + timedelta(days=15))
    invoices = api.v1.invoices.list({"subscription": made.id}).data
    assert [one.billing_reason for one in invoices] == ["subscription_cycle"] * 2 + ["subscription_create"]
    item = api.v1.subscriptions.retrieve(made.id)["items"].data[0]
    assert item.current_period_end - item.current_period_start == 7 * 86_400
    api.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    control.advance_to(control.now() + timedelta(days=7))
    assert api.v1.subscriptions.retrieve(made.id).status == "canceled"


def test_a_subscription_never_paid_expires(api, control):
    customer = api.v1.customers.create({"email": "never@example.com"}).id
    method = api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer}).id
    price = api.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 700,
            "recurring": {"interval": "month"},
            "product_data": {"name": "N"},
        }
    )
    params = {"customer": customer, "items": [{"price": price.id}], "default_payment_method": method}
    with pytest.raises(stripe.CardError):
        api.v1.subscriptions.create({**params, "payment_behavior": "error_if_incomplete"})
    made = api.v1.subscriptions.create(params)
    assert made.status == "incomplete"
    control.advance_to(control.now() + timedelta(hours=23))
    assert api.v1.subscriptions.retrieve(made.id).status == "incomplete_expired"
    assert api.v1.invoices.retrieve(made.latest_invoice).status == "void"
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        api.v1.subscriptions.create(
            {**params, "customer": api.v1.customers.create().id, "default_payment_method": ""}
        )
