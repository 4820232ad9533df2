"""Lists and single objects as the SDK reads them: order, cursors, bounds, filters, expansion, refusals."""

import itertools

import httpx
import pytest
import stripe

from tests.sandbox.conftest import sdk
from tinko_pipelines.settings import SANDBOX_KEY

NOW = 1_788_220_800
DAY = 86_400


def test_lists_come_newest_first_in_pages_without_gaps(api):
    by_sevens = [charge.id for charge in api.v1.charges.list({"limit": 7}).auto_paging_iter()]
    by_hundreds = list(api.v1.charges.list({"limit": 100}).auto_paging_iter())
    assert by_sevens == [charge.id for charge in by_hundreds]
    assert len(set(by_sevens)) == len(by_sevens) > 150
    created = [charge.created for charge in by_hundreds]
    assert created == sorted(created, reverse=True)


def test_cursors_go_both_ways(api):
    first = api.v1.invoices.list({"limit": 5})
    assert first.has_more
    second = api.v1.invoices.list({"limit": 5, "starting_after": first.data[-1].id})
    back = api.v1.invoices.list({"limit": 5, "ending_before": second.data[0].id})
    assert [one.id for one in back.data] == [one.id for one in first.data]
    assert not back.has_more
    nearest = api.v1.invoices.list({"limit": 2, "ending_before": second.data[0].id})
    assert [one.id for one in nearest.data] == [one.id for one in first.data[3:]]
    assert nearest.has_more
    assert len(api.v1.invoices.list().data) == 10


@pytest.mark.parametrize(
    ("bounds", "holds"),
    [
        ({"gte": NOW - 10 * DAY}, lambda at: at >= NOW - 10 * DAY),
        ({"gt": NOW - 10 * DAY, "lte": NOW - 5 * DAY}, lambda at: NOW - 10 * DAY < at <= NOW - 5 * DAY),
        ({"gte": NOW - 10 * DAY, "lt": NOW - 5 * DAY}, lambda at: NOW - 10 * DAY <= at < NOW - 5 * DAY),
    ],
)
def test_created_bounds(api, bounds, holds):
    everything = [one.created for one in api.v1.charges.list({"limit": 100}).auto_paging_iter()]
    bounded = api.v1.charges.list({"limit": 100, "created": bounds}).auto_paging_iter()
    assert [one.created for one in bounded] == [at for at in everything if holds(at)]


def test_bounds_hold_at_the_very_second(api):
    at = api.v1.charges.list({"limit": 30}).data[-1].created
    count = lambda created: len(api.v1.charges.list({"limit": 100, "created": created}).data)  # noqa: E731
    here = count(at)
    assert here >= 1
    assert count({"gte": at, "lte": at}) == here
    assert count({"gt": at}) + here == count({"gte": at})
    assert count({"gt": at, "lt": at + 1}) == 0


def test_filters(api):
    charge = next(one for one in api.v1.charges.list({"limit": 100}).data if one.status == "failed")
    for params in ({"customer": charge.customer}, {"payment_intent": charge.payment_intent}):
        found = api.v1.charges.list(params).data
        assert charge.id in {one.id for one in found}
        assert all(one[name] == value for one in found for name, value in params.items())
    opened = api.v1.invoices.list({"status": "open", "limit": 100}).data
    assert opened
    assert {one.status for one in opened} == {"open"}
    subscription = opened[0].parent.subscription_details.subscription
    assert opened[0].id in {one.id for one in api.v1.invoices.list({"subscription": subscription}).data}
    link = api.v1.invoice_payments.list({"invoice": opened[0].id}).data[0]
    again = api.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": link.payment.payment_intent}}
    )
    assert [one.id for one in again.data] == [link.id]


def test_subscriptions_are_listed_without_those_that_ended(api, control):
    made = control.fixture("failed_invoice", code=None, email="leaver@example.com")
    control.act("cancel_subscription", made["subscription"])
    listed = lambda **more: {  # noqa: E731
        one.id for one in api.v1.subscriptions.list({"customer": made["customer"], **more}).data
    }
    assert listed() == set()
    assert (
        listed(status="all") == listed(status="canceled") == listed(status="ended") == {made["subscription"]}
    )


def test_events_by_type_with_the_object_as_it_was(api, control):
    made = control.fixture("failed_invoice", email="events@example.com", stripe_retries=True)
    events = api.v1.events.list({"type": "invoice.payment_failed", "limit": 5}).data
    mine = next(one for one in events if one.data.object["id"] == made["invoice"])
    assert mine.request.id is None
    assert mine.data.object["status"] == "open"
    assert mine.data.object["next_payment_attempt"] == mine.created + 3 * DAY
    several = api.v1.events.list({"types": ["charge.failed", "charge.succeeded"], "limit": 50}).data
    assert {one.type for one in several} == {"charge.failed", "charge.succeeded"}
    wild = api.v1.events.list({"type": "charge.*", "limit": 20}).data
    assert all(one.type.startswith("charge.") for one in wild)
    assert api.v1.events.retrieve(mine.id).id == mine.id


def test_events_of_the_last_thirty_days_only(api, control):
    now = int(control.now().timestamp())
    oldest = min(one.created for one in api.v1.events.list({"limit": 100}).auto_paging_iter())
    assert now - 30 * DAY <= oldest <= now - 20 * DAY


def test_expansion(api):
    charge = api.v1.charges.list({"limit": 1, "expand": ["data.payment_intent.customer"]}).data[0]
    assert charge.payment_intent.customer.email.endswith("@example.com")
    assert api.v1.charges.retrieve(charge.id).payment_intent == charge.payment_intent.id
    invoice = api.v1.invoices.list({"limit": 1, "expand": ["data.payments", "data.customer"]}).data[0]
    assert invoice.payments.data[0].invoice == invoice.id
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        api.v1.charges.retrieve(charge.id, {"expand": ["amount"]})


def test_every_kind_can_be_listed(api):
    rooms = (
        "charges payment_intents invoices invoice_payments customers payment_methods subscriptions prices products"
        " refunds disputes balance_transactions events webhook_endpoints"
    )
    for room in rooms.split():
        for item in itertools.islice(getattr(api.v1, room).list({"limit": 3}).auto_paging_iter(), 5):
            assert getattr(api.v1, room).retrieve(item.id).id == item.id
    assert api.v1.checkout.sessions.list().data == []


@pytest.mark.parametrize(
    ("params", "param", "said"),
    [
        ({"limit": 0}, "limit", "greater than or equal to 1"),
        ({"limit": 101}, "limit", "less than or equal to 100"),
        ({"limit": "x"}, "limit", "Invalid integer"),
        ({"starting_after": "ch_none"}, "starting_after", "No such charge"),
        ({"colour": "red"}, "colour", "unknown parameter"),
        ({"created": {"after": 1}}, "created[after]", "unknown parameter"),
    ],
)
def test_lists_refuse(api, params, param, said):
    with pytest.raises(stripe.InvalidRequestError, match=said) as caught:
        api.v1.charges.list(params)
    assert caught.value.http_status == 400
    assert caught.value.param == param


def test_what_is_not_there(api, sandbox):
    with pytest.raises(stripe.InvalidRequestError, match=r"No such invoice: 'in_none'") as caught:
        api.v1.invoices.retrieve("in_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as caught:
        api.raw_request("get", "/v1/unicorns")
    assert caught.value.http_status == 404


def test_keys(sandbox):
    for key in ("sk_test_somebody_elses_key", "sk_live_tinko_sandbox"):
        with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
            sdk(sandbox.base, key).v1.charges.list()
    assert httpx.get(f"{sandbox.base}/v1/charges").status_code == 401
    assert httpx.get(f"{sandbox.base}/v1/charges", auth=(SANDBOX_KEY, "")).status_code == 200
    assert sdk(sandbox.base, f"{SANDBOX_KEY}_2").v1.charges.list({"limit": 1}).data
    reader = sdk(sandbox.base, "rk_test_tinko_readonly")
    assert reader.v1.charges.list({"limit": 1}).data
    with pytest.raises(stripe.PermissionError) as caught:
        reader.v1.customers.create()
    assert caught.value.http_status == 403


def test_accounts_and_versions(sandbox, api):
    own = api.v1.accounts.retrieve_current().id
    assert api.v1.charges.list({"limit": 1}, {"stripe_account": own}).data
    with pytest.raises(stripe.PermissionError, match="does not have access"):
        api.v1.charges.list({}, {"stripe_account": "acct_other"})
    with pytest.raises(stripe.InvalidRequestError, match="API version"):
        api.v1.charges.list({}, {"stripe_version": "2020-08-27"})


def test_headers(api):
    one, other = (api.v1.charges.list({"limit": 1}).last_response.headers for _ in range(2))
    assert one["request-id"].startswith("req_")
    assert one["request-id"] != other["request-id"]
    assert one["stripe-version"] == stripe.api_version
