"""Payment intents, methods and refunds through the SDK: what passes, what declines, and how that is told."""

import pytest
import stripe


def refused(call, *args):
    with pytest.raises(stripe.CardError) as caught:
        call(*args)
    assert caught.value.http_status == 402
    return caught.value.error


def test_an_intent_lives_from_creation_to_refund(api):
    customer = api.v1.customers.create({"email": "whole@example.com"})
    method = api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    intent = api.v1.payment_intents.create({"amount": 1500, "currency": "eur", "customer": customer.id})
    assert intent.status == "requires_payment_method"
    intent = api.v1.payment_intents.update(intent.id, {"metadata": {"a": "1", "b": "2"}})
    intent = api.v1.payment_intents.update(intent.id, {"metadata": {"a": ""}, "payment_method": method.id})
    assert (intent.status, intent.metadata.to_dict()) == ("requires_confirmation", {"b": "2"})
    paid = api.v1.payment_intents.confirm(intent.id, {"off_session": True})
    assert (paid.status, paid.amount_received) == ("succeeded", 1500)
    charge = api.v1.charges.retrieve(paid.latest_charge, {"expand": ["balance_transaction"]})
    assert charge.paid and charge.captured and charge.outcome.type == "authorized"
    assert charge.payment_method_details.card.last4 == "4242"
    assert charge.metadata["b"] == "2"
    assert charge.balance_transaction.net == 1500 - charge.balance_transaction.fee > 0
    api.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    api.v1.refunds.create({"charge": charge.id, "reason": "duplicate"})
    charge = api.v1.charges.retrieve(charge.id)
    assert (charge.refunded, charge.amount_refunded) == (True, 1500)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.refunds.create({"charge": charge.id})
    assert caught.value.code == "charge_already_refunded"


def test_an_intent_succeeds_once(api, control):
    made = control.fixture("failed_intent", code=None, email="once@example.com")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.payment_intents.confirm(made["payment_intent"], {"payment_method": made["payment_method"]})
    assert caught.value.code == "payment_intent_unexpected_state"
    assert caught.value.error.payment_intent["id"] == made["payment_intent"]
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded"):
        api.v1.payment_intents.cancel(made["payment_intent"])
    assert len(control.charges_of(made["payment_intent"])) == 1
    assert api.v1.payment_intents.update(made["payment_intent"], {"metadata": {"late": "yes"}}).metadata[
        "late"
    ]


def test_a_decline_names_everything(api, control):
    made = control.fixture("failed_intent", code="insufficient_funds", email="short@example.com")
    params = {"payment_method": made["payment_method"], "off_session": True, "error_on_requires_action": True}
    error = refused(api.v1.payment_intents.confirm, made["payment_intent"], params)
    assert (error.code, error.decline_code) == ("card_declined", "insufficient_funds")
    assert error.advice_code == "try_again_later"
    assert error.network_decline_code == "51"
    assert error.payment_method["id"] == made["payment_method"]
    charge = api.v1.charges.retrieve(error.charge)
    assert (charge.status, charge.failure_code) == ("failed", "card_declined")
    assert (charge.outcome.reason, charge.outcome.network_status) == (
        "insufficient_funds",
        "declined_by_network",
    )
    assert charge.balance_transaction is None
    intent = api.v1.payment_intents.retrieve(made["payment_intent"])
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.charge == intent.latest_charge == charge.id


@pytest.mark.parametrize(
    ("token", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_radarBlock", "card_declined", "highest_risk_level"),
    ],
)
def test_declining_tokens(api, token, code, decline_code):
    params = {"amount": 900, "currency": "usd", "payment_method": token, "confirm": True}
    error = refused(api.v1.payment_intents.create, params)
    assert (error.code, error.decline_code) == (code, decline_code)
    blocked = api.v1.charges.retrieve(error.charge).outcome.type == "blocked"
    assert blocked == (token == "pm_card_radarBlock")


def test_declining_tokens_cannot_be_attached_but_one(api):
    customer = api.v1.customers.create({"email": "attach@example.com"}).id
    error = refused(api.v1.payment_methods.attach, "pm_card_visa_chargeDeclined", {"customer": customer})
    assert error.decline_code == "generic_decline"
    method = api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer}).id
    params = {
        "amount": 900, "currency": "usd", "payment_method": method, "customer": customer,
        "confirm": True, "off_session": True,
    }  # fmt: skip
    assert refused(api.v1.payment_intents.create, params).decline_code == "generic_decline"
    with pytest.raises(stripe.InvalidRequestError, match="No such PaymentMethod"):
        api.v1.payment_methods.attach("pm_card_of_nobody", {"customer": customer})


def test_authentication(api):
    base = {
        "amount": 900,
        "currency": "usd",
        "payment_method": "pm_card_authenticationRequired",
        "confirm": True,
    }
    intent = api.v1.payment_intents.create(base)
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    error = refused(api.v1.payment_intents.create, {**base, "off_session": True})
    assert (error.code, error.decline_code) == ("authentication_required", "authentication_required")
    error = refused(api.v1.payment_intents.create, {**base, "error_on_requires_action": True})
    assert error.code == "payment_intent_action_required"
    assert error.payment_intent["status"] == "requires_payment_method"


def test_an_intent_confirmed_too_often_is_cancelled(api, control):
    made = control.fixture("failed_intent", code="do_not_honor", email="often@example.com")
    params = {"payment_method": made["payment_method"], "off_session": True}
    for _ in range(24):
        refused(api.v1.payment_intents.confirm, made["payment_intent"], params)
    intent = api.v1.payment_intents.retrieve(made["payment_intent"])
    assert (intent.status, intent.cancellation_reason) == ("canceled", "automatic")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.payment_intents.confirm(made["payment_intent"], params)
    assert caught.value.code == "payment_intent_unexpected_state"


def test_a_card_that_was_not_saved_cannot_be_charged_again(api, control):
    made = control.fixture("failed_intent", on_session=True, save_card=False, email="guest@example.com")
    intent = api.v1.payment_intents.retrieve(made["payment_intent"])
    assert intent.setup_future_usage is None
    charge = api.v1.charges.retrieve(made["charge"])
    assert api.v1.payment_methods.retrieve(charge.payment_method).customer is None
    params = {"payment_method": charge.payment_method, "off_session": True}
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        api.v1.payment_intents.confirm(made["payment_intent"], params)
    assert len(control.charges_of(made["payment_intent"])) == 1
    control.act("pay", made["payment_intent"], card="fresh")
    assert api.v1.payment_intents.retrieve(made["payment_intent"]).status == "succeeded"


def test_saving_a_card_by_paying_with_it(api):
    customer = api.v1.customers.create({"email": "saves@example.com"}).id
    params = {"amount": 900, "currency": "usd", "customer": customer, "payment_method": "pm_card_visa"}
    kept = api.v1.payment_intents.create({**params, "confirm": True, "setup_future_usage": "off_session"})
    assert api.v1.payment_methods.retrieve(kept.payment_method).customer == customer
    spent = api.v1.payment_intents.create({**params, "confirm": True})
    assert api.v1.payment_methods.retrieve(spent.payment_method).customer is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        api.v1.payment_intents.create({**params, "payment_method": spent.payment_method, "confirm": True})


def test_methods_of_others_are_refused(api):
    one, other = (api.v1.customers.create({"payment_method": "pm_card_visa"}) for _ in range(2))
    method = api.v1.payment_methods.list({"customer": one.id}).data[0].id
    params = {
        "amount": 900,
        "currency": "usd",
        "customer": other.id,
        "payment_method": method,
        "confirm": True,
    }
    with pytest.raises(stripe.InvalidRequestError, match="belongs to another"):
        api.v1.payment_intents.create(params)
    api.v1.payment_methods.detach(method)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        api.v1.payment_methods.attach(method, {"customer": one.id})


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "usd"}, "amount"),
        ({"amount": 100}, "currency"),
        ({"amount": -5, "currency": "usd"}, "amount"),
        ({"amount": 100, "currency": "usd", "customer": "cus_none"}, "customer"),
        ({"amount": 100, "currency": "usd", "capture_method": "manual"}, "capture_method"),
        ({"amount": 100, "currency": "usd", "confirm": True}, "payment_method"),
        ({"amount": 100, "currency": "usd", "payment_method": "pm_none"}, "payment_method"),
        ({"amount": 100, "currency": "usd", "off_session": "perhaps"}, "off_session"),
    ],
)
def test_bad_intents_are_refused_and_leave_nothing_behind(api, control, params, param):
    before = control.book()["digest"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        api.v1.payment_intents.create(params)
    assert (caught.value.http_status, caught.value.param) == (400, param)
    assert control.book()["digest"] == before


def test_a_deleted_customer_is_a_tombstone(api, control):
    made = control.fixture("failed_invoice", email="gone@example.com")
    assert api.v1.customers.delete(made["customer"]).deleted
    assert api.v1.customers.retrieve(made["customer"]).to_dict() == {
        "id": made["customer"], "object": "customer", "deleted": True,
    }  # fmt: skip
    assert api.v1.subscriptions.retrieve(made["subscription"]).status == "canceled"
    assert made["customer"] not in {
        one.id for one in api.v1.customers.list({"limit": 100}).auto_paging_iter()
    }


def test_a_card_set_up_once_passes_while_its_holder_is_away(api):
    base = {"amount": 900, "currency": "usd", "payment_method": "pm_card_authenticationRequiredOnSetup"}
    assert api.v1.payment_intents.create({**base, "confirm": True}).status == "requires_action"
    assert api.v1.payment_intents.create({**base, "confirm": True, "off_session": True}).status == "succeeded"


def test_a_card_made_for_disputes_is_disputed_when_time_goes_on(api, control):
    params = {"amount": 900, "currency": "usd", "payment_method": "pm_card_createDispute", "confirm": True}
    charge = api.v1.payment_intents.create(params).latest_charge
    control.advance_to(control.now())
    assert api.v1.disputes.list({"charge": charge}).data[0].reason == "fraudulent"


def test_the_intent_of_an_invoice_is_not_cancelled_by_hand(api, control):
    made = control.fixture("failed_invoice", email="byhand@example.com")
    with pytest.raises(stripe.InvalidRequestError, match="Void the Invoice"):
        api.v1.payment_intents.cancel(made["payment_intent"])


def test_money_becomes_available_after_two_days(api):
    statuses = {one.status for one in api.v1.balance_transactions.list({"limit": 100}).auto_paging_iter()}
    assert statuses == {"available", "pending"}
