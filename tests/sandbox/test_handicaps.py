"""A Stripe that protects nobody: what is paid is charged again, keys mean nothing; and the journal that tells."""

import httpx
import pytest
import stripe

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.sandbox.http.journal import CALLER
from tinko_pipelines.settings import SANDBOX_KEY


@pytest.fixture
def handicap(control):
    yield lambda mode: control.mode(payments=mode)
    control.mode(payments="faithful")


@pytest.fixture
def http(sandbox):
    headers = {"authorization": f"Bearer {SANDBOX_KEY}", CALLER: "somebody"}
    with httpx.Client(base_url=sandbox.base, headers=headers) as client:
        yield client


def test_what_is_paid_can_be_paid_again_where_many_may_succeed(api, control, handicap):
    intent = control.fixture("failed_intent", code=None, email="many@example.com")
    invoice = control.fixture("failed_invoice", code=None, email="many-invoice@example.com")
    again = {"payment_method": intent["payment_method"], "off_session": True}
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.payment_intents.confirm(intent["payment_intent"], again)
    with pytest.raises(stripe.InvalidRequestError):
        api.v1.invoices.pay(invoice["invoice"])
    handicap("many_successes")
    assert control.book()["payments"] == "many_successes"
    before = control.book()["double_charges"]
    assert api.v1.payment_intents.confirm(intent["payment_intent"], again).status == "succeeded"
    assert api.v1.invoices.pay(invoice["invoice"]).status == "paid"
    assert control.book()["double_charges"] == before + 2
    control.fixture(
        "amend", object="cards", id=invoice["payment_method"], fields={"script": [[0, "lost_card"]]}
    )
    with pytest.raises(stripe.CardError):
        api.v1.invoices.pay(invoice["invoice"])
    assert api.v1.invoices.retrieve(invoice["invoice"]).status == "paid"
    assert len(control.charges_of(invoice["invoice"])) == 3


def test_keys_can_be_made_to_mean_nothing(api, control, handicap):
    made = control.fixture("failed_intent", email="keyless@example.com")

    def confirm():
        with pytest.raises(stripe.CardError):
            api.v1.payment_intents.confirm(
                made["payment_intent"],
                {"payment_method": made["payment_method"], "off_session": True},
                {"idempotency_key": "the-same"},
            )
        return len(control.charges_of(made["payment_intent"]))

    assert [confirm(), confirm()] == [2, 2]
    handicap("no_idempotency")
    assert [confirm(), confirm()] == [3, 4]


def test_unknown_modes_are_refused(control):
    with pytest.raises(GatewayError, match="payments is one of faithful"):
        control.mode(payments="generous")


def test_a_script_can_leave_a_charge_under_way(api, control):
    made = control.fixture("failed_intent", codes=[[0, "insufficient_funds"]], email="pending@example.com")
    control.fixture(
        "amend", object="cards", id=made["payment_method"], fields={"script": [[0, "processing"]]}
    )
    confirmed = api.v1.payment_intents.confirm(
        made["payment_intent"], {"payment_method": made["payment_method"]}
    )
    assert confirmed.status == "processing"
    control.act("settle_pending", str(confirmed.latest_charge))
    assert api.v1.payment_intents.retrieve(made["payment_intent"]).status == "succeeded"


def test_the_journal_tells_who_asked_and_how_the_debt_stood(http, control):
    made = control.fixture("failed_invoice", email="journal@example.com", code="insufficient_funds")
    path = f"/v1/invoices/{made['invoice']}"
    control.act("attach_card", made["customer"])
    begun = len(control.journal())
    http.get(path)
    control.faults([{"kind": "conflict", "method": "POST", "count": 1}])
    http.post(f"{path}/pay", headers={"idempotency-key": "j-1"})
    http.post(f"{path}/pay", headers={"idempotency-key": "j-1"})
    http.get(path)
    http.post(f"{path}/pay", headers={"idempotency-key": "j-1"})
    read, _, struck, paid, again, replayed = control.journal()[begun:]
    assert (read["caller"], read["debt"], read["over"]) == ("somebody", made["invoice"], None)
    assert (struck["status"], struck["fault"]) == (409, "conflict")
    assert paid["over"] is None
    assert [made["invoice"], "j-1", False] == [paid["debt"], paid["key"], paid["replayed"]]
    assert paid["made"] == [control.charges_of(made["invoice"])[-1]["id"]]
    assert again["over"] == "paid"
    assert (replayed["over"], replayed["replayed"], replayed["made"]) == ("paid", True, [])
    assert read["n"] < paid["n"] < replayed["n"]


@pytest.mark.parametrize(
    ("deed", "field", "why"),
    [
        ("cancel_subscription", "subscription", "subscription ended"),
        ("void_invoice", "invoice", "void"),
        ("delete_customer", "customer", "customer deleted"),
    ],
)
def test_the_journal_knows_every_end_of_a_debt(http, control, deed, field, why):
    made = control.fixture("failed_invoice", email=f"{deed}@example.com")
    control.act(deed, made[field])
    http.get(f"/v1/invoices/{made['invoice']}")
    assert control.journal()[-1]["over"] == why


def test_an_order_placed_again_ends_the_debt_of_the_first(http, control):
    made = control.fixture("failed_intent", email="again@example.com", order_id="order-again")
    control.act("order_again", made["payment_intent"])
    http.get(f"/v1/payment_intents/{made['payment_intent']}")
    assert str(control.journal()[-1]["over"]).startswith("paid by pi_")
    control.act("cancel_intent", made["payment_intent"])
    http.get(f"/v1/payment_intents/{made['payment_intent']}")
    assert control.journal()[-1]["over"] == "canceled"
