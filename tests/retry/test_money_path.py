"""Plan, drain and mail against the sandbox, with customers and Stripe acting at the worst moment."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.retry.shop import LEASE_SECONDS, Shop, passing_later
from tinko_pipelines.app import App
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.ledger.schema import message
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import SANDBOX_KEY


def test_an_order_paid_by_a_second_intent_since_the_plan_is_not_charged(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_intent", codes=passing_later(shop), order_id="7")
    other = shop.stripe.fixture(
        "failed_intent", codes=passing_later(shop), order_id="8", email="b@example.com"
    )
    shop.refresh()
    shop.advance(timedelta(hours=13))
    for who, order in ((made, "7"), (other, "another")):
        shop.stripe.act("attach_card", who["customer"], card="fresh")
        (card,) = set(shop.cards(who["customer"])) - {who["payment_method"]}
        shop.post("/v1/payment_intents", amount=2500, currency="usd", customer=who["customer"],
                  payment_method=card, confirm=True, metadata={"order_id": order})  # fmt: skip
    shop.until_due(made["payment_intent"], other["payment_intent"])
    shop.app.drain(owner="test")
    assert shop.case(made["payment_intent"])["state"] == "needs_human"
    assert shop.case(other["payment_intent"])["state"] == "recovered"
    assert shop.stripe.book()["orders_paid_twice"] == 0
    shop.refresh()
    assert shop.case(made["payment_intent"])["state"] == "paid_elsewhere"


@pytest.mark.parametrize("meanwhile", ["cancelled", "nothing"])
def test_a_call_that_never_arrived_is_repeated_only_while_it_would_still_be_made(
    shop: Shop, meanwhile: str
) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.faults([{"kind": "reset_before", "path": "*/pay", "count": 2}])
    shop.app.drain(owner="test")
    assert [row["state"] for row in shop.attempts(debt)] == ["unknown"]
    if meanwhile == "cancelled":
        shop.stripe.act("cancel_subscription", made["subscription"])
    shop.advance(timedelta(minutes=2))
    time.sleep(LEASE_SECONDS + 0.1)
    shop.app.drain(owner="test")
    passed = [charge["status"] == "succeeded" for charge in shop.stripe.charges_of(debt)]
    assert passed == ([False] if meanwhile == "cancelled" else [False, True])
    shop.advance(timedelta(hours=30))
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == ("cancelled" if meanwhile == "cancelled" else "recovered")


@pytest.mark.parametrize("fault", ["error_after", "reset_after"])
@pytest.mark.parametrize("passes", [True, False])
def test_an_invoice_whose_answer_is_lost_is_settled_by_reading(shop: Shop, fault: str, passes: bool) -> None:
    codes = passing_later(shop) if passes else [[0, "insufficient_funds"]]
    debt = shop.stripe.fixture("failed_invoice", codes=codes)["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.faults([{"kind": fault, "path": "*/pay", "count": 1}])
    shop.app.drain(owner="test")
    (row,) = shop.attempts(debt)
    assert (row["state"], row["executed"]) == ("succeeded" if passes else "declined", True)
    assert shop.case(debt)["state"] == ("recovered" if passes else "open")
    assert [charge["id"] for charge in shop.stripe.charges_of(debt)][1:] == [row["charge_id"]]


def test_a_key_that_is_no_header_is_named_nowhere(shop: Shop, tmp_path: Path) -> None:
    broken = "sk_test_0123456789secret\x7f\nmore"
    gateway = StripeGateway(broken, shop.app.settings.stripe_api_base, "default")
    answer = gateway.get("/v1/charges")
    assert answer.http_status is None
    assert "secret" not in repr(answer)
    assert "more" not in repr(answer)


def test_a_key_read_from_a_file_with_a_line_end_works(shop: Shop, tmp_path: Path) -> None:
    own = Shop(shop.app.settings.stripe_api_base, tmp_path / "own", stripe_secret_key=f"{SANDBOX_KEY}\n")
    assert own.app.settings.key == SANDBOX_KEY
    assert own.app.account().gateway.get("/v1/charges").ok


def test_a_card_the_bank_has_forbidden_since_the_plan_is_left_alone(shop: Shop) -> None:
    codes = [[0, "insufficient_funds"], [shop.at(0.5), "stolen_card"]]
    debt = shop.stripe.fixture("failed_invoice", codes=codes)["invoice"]
    shop.refresh()
    shop.advance(timedelta(hours=13))
    shop.stripe.act("pay", debt)
    shop.refresh()
    assert shop.case(debt)["state"] == "open"
    shop.advance(timedelta(days=10))
    shop.app.drain(owner="test")
    assert [charge["outcome"]["reason"] for charge in shop.stripe.charges_of(debt)] == [
        "insufficient_funds",
        "stolen_card",
    ]


def test_a_card_forbidden_between_plan_and_call_is_left_alone(shop: Shop) -> None:
    codes = [[0, "insufficient_funds"], [shop.at(0.5), "stolen_card"]]
    debt = shop.stripe.fixture("failed_invoice", codes=codes)["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.act("pay", debt)
    shop.app.drain(owner="test")
    assert len(shop.stripe.charges_of(debt)) == 2
    shop.refresh()
    shop.advance(timedelta(days=2))
    shop.app.drain(owner="test")
    assert len(shop.stripe.charges_of(debt)) == 2
    assert shop.case(debt)["state"] == "open"


def test_a_debt_is_ours_once_stripe_has_ended_its_own_retries_however_late(shop: Shop) -> None:
    debt = shop.stripe.fixture("failed_invoice", codes=passing_later(shop, 45))["invoice"]
    shop.stripe.fixture("amend", object="invoices", id=debt, fields={"next_payment_attempt": shop.at(40)})
    shop.refresh()
    assert shop.case(debt)["move"] == "wait_stripe"
    for _ in range(8):
        shop.advance(timedelta(days=5))
        shop.refresh()
        shop.app.drain(owner="test")
    assert (shop.case(debt)["state"], shop.attempts(debt)) == ("open", [])
    shop.stripe.mode(stripe_retries="off")
    shop.advance(timedelta(minutes=2))
    shop.refresh()
    assert shop.case(debt)["move"] == "retry"


def test_a_debt_that_stripe_takes_up_itself_waits_and_comes_back(shop: Shop) -> None:
    debt = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.fixture("amend", object="invoices", id=debt, fields={"next_payment_attempt": shop.at(3)})
    shop.app.drain(owner="test")
    assert len(shop.stripe.charges_of(debt)) == 1
    shop.refresh()
    assert (shop.case(debt)["state"], shop.case(debt)["move"]) == ("open", "wait_stripe")
    shop.stripe.mode(stripe_retries="off")
    shop.advance(timedelta(minutes=2))
    shop.refresh()
    shop.until_due(debt)
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "recovered"


def test_an_invoice_being_paid_by_bank_debit_is_left_alone_until_that_has_ended(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)
    (failed,) = shop.stripe.charges_of(debt)
    now = shop.at(0)
    debit = {**failed, "id": "py_debit", "status": "pending", "paid": False, "created": now}
    shop.stripe.fixture("raw", object="charges", body=debit)
    shop.stripe.fixture(
        "amend", object="payment_intents", id=made["payment_intent"], fields={"status": "processing"}
    )
    shop.app.drain(owner="test")
    assert [(row["state"], row["answer"]) for row in shop.attempts(debt)] == [("abandoned", "preflight")]
    shop.stripe.fixture("amend", object="charges", id="py_debit", fields={"status": "failed"})
    fields = {"status": "requires_payment_method"}
    shop.stripe.fixture("amend", object="payment_intents", id=made["payment_intent"], fields=fields)
    shop.advance(timedelta(days=1, hours=1))
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "recovered"


def test_a_refused_request_does_not_keep_the_next_card_waiting(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", code="insufficient_funds")
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)

    def detach(boundary: str) -> None:
        if boundary == "before_http":
            shop.post(f"/v1/payment_methods/{made['payment_method']}/detach")

    assert shop.app.drain(owner="test", boundary=detach).called == 1
    (row,) = shop.attempts(debt)
    assert (row["state"], row["answer"], row["executed"]) == ("abandoned", "refused", False)
    assert "may not be used again" in row["detail"]
    assert shop.case(debt)["due_at"] > shop.stripe.now() + timedelta(hours=24)
    shop.stripe.act("attach_card", made["customer"], card="fresh")
    shop.refresh()
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "recovered"


def test_another_account_in_the_same_ledger_is_not_judged_by_our_stripe(shop: Shop, tmp_path: Path) -> None:
    debt = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))["invoice"]
    later = shop.stripe.fixture("failed_invoice", email="b@example.com", code="expired_card")["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.faults([{"kind": "reset_before", "path": "*/pay"}])
    shop.app.drain(owner="test")
    with SandboxProcess(tmp_path / "other", seed=6, charges=1, history_days=1) as process:
        settings = {"stripe_account": "other", "ledger_url": shop.app.settings.ledger}
        other = Shop(process.base, tmp_path / "state2", **settings)
        other.stripe.advance_to(shop.stripe.now() + timedelta(minutes=5))
        other.app.send_mail(owner="other")
        time.sleep(LEASE_SECONDS + 0.1)
        other.app.drain(owner="other")
        assert sum(other.app.due().counts().values()) == 0
        other.app.ledger.close()
    assert [row["state"] for row in shop.attempts(debt)] == ["unknown"]
    assert shop.case(debt)["state"] == "open"
    case = shop.case(later)["id"]
    assert {row["state"] for row in shop.rows(message) if row["case_id"] == case} == {"scheduled"}


def test_the_owner_of_a_charge_without_intent_is_written_to(shop: Shop, tmp_path: Path) -> None:
    own = Shop(
        shop.app.settings.stripe_api_base, tmp_path / "own", update_card_url="https://example.com/card"
    )
    charge = own.stripe.fixture("legacy_charge")["charge"]
    own.refresh()
    assert own.case(charge)["move"] == "customer"
    assert own.app.send_mail(owner="test").sent == 1
    own.app.ledger.close()


def test_a_second_drain_leaves_alone_what_the_first_has_begun(shop: Shop) -> None:
    emails = ("a@example.com", "b@example.com")
    made = [shop.stripe.fixture("failed_invoice", email=each, codes=passing_later(shop)) for each in emails]
    debts = [each["invoice"] for each in made]
    shop.refresh()
    shop.until_due(*debts)
    early, late = sorted(debts, key=lambda debt: shop.case(debt)["due_at"])
    slow = {"kind": "latency", "method": "GET", "count": 1}
    paths = ((f"*/invoices/{early}", 1.0), (f"*/invoices/{late}", 2.5))
    shop.stripe.faults([{**slow, "path": path, "seconds": seconds} for path, seconds in paths])
    settings = shop.app.settings.model_copy(update={"drain_lease_seconds": 180.0, "drain_workers": 1})
    one, two = App(settings), App(settings)
    with ThreadPoolExecutor() as pool:
        has_listed_both = pool.submit(one.drain, owner="one")
        while not (shop.attempts(early) or has_listed_both.done()):
            time.sleep(0.02)
        begins_the_late_one = pool.submit(two.drain, owner="two")
        results = [has_listed_both.result(), begins_the_late_one.result()]
    one.ledger.close()
    two.ledger.close()
    assert sum(result.succeeded for result in results) == 2
    assert {shop.case(debt)["state"] for debt in debts} == {"recovered"}


def test_a_payment_by_the_customer_himself_is_not_taken_for_ours(shop: Shop) -> None:
    debt = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.stripe.faults([{"kind": "latency", "method": "POST", "path": "*/pay", "seconds": 1.5, "count": 1}])
    with ThreadPoolExecutor() as pool:
        drained = pool.submit(shop.app.drain, owner="test")
        while [row["state"] for row in shop.attempts(debt)] != ["calling"] and not drained.done():
            time.sleep(0.02)
        time.sleep(0.2)
        assert shop.stripe.act("pay", debt)["paid"]
        drained.result()
    assert shop.case(debt)["state"] == "paid_elsewhere"
    assert [row["state"] for row in shop.attempts(debt)] == ["abandoned"]
    assert shop.stripe.book()["charged_after_paid"] == 0


def test_the_card_charged_is_the_card_that_was_planned_and_counted(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))
    shop.refresh()
    planned = shop.case(made["invoice"])
    assert planned["payment_method_id"] == made["payment_method"]
    shop.stripe.act("attach_card", made["customer"], card="fresh")
    shop.until_due(made["invoice"])
    assert shop.app.drain(owner="test").succeeded == 1
    (done,) = shop.attempts(made["invoice"])
    charge = shop.stripe.charges_of(made["invoice"])[-1]
    assert charge["status"] == "succeeded"
    assert charge["payment_method_details"]["card"]["fingerprint"] == done["card_fingerprint"]
