"""The reconciler against the sandbox, with a key that may only read: it sees each lie, and writes nothing at Stripe."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.reconcile.shop import Shop
from tinko_pipelines.app import App
from tinko_pipelines.errors import GatewayError, SettingsError
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.control import resume
from tinko_pipelines.ledger.schema import attempt, control, reconciliation, recovery_case


def test_a_ledger_that_is_right_agrees_and_nothing_at_stripe_changes(shop: Shop) -> None:
    for number, kind in enumerate(("failed_invoice", "failed_intent", "failed_invoice", "failed_intent")):
        shop.owe(kind, passes=number < 2, email=f"{number}@example.com")
    shop.retry()
    paid_by_hand = shop.owe("failed_invoice", passes=False, email="hand@example.com")
    shop.stripe.act("pay", paid_by_hand, card="fresh")
    shop.later()
    before = shop.stripe.book()["digest"]
    first = shop.app.reconcile()
    assert (first.agreed, first.whole, first.findings) == (True, True, ())
    assert first.cases >= 4
    shop.later()
    before = shop.stripe.book()["digest"]
    second = shop.app.reconcile()
    assert (second.agreed, second.whole) == (True, False)
    assert second.read_from == first.read_until - timedelta(hours=1)
    (row,) = shop.rows(reconciliation)
    assert (row["disagreements"], row["agreed_at"]) == (0, shop.stripe.now())
    assert shop.stripe.book()["digest"] == before
    assert shop.rows(control) == []
    (marked,) = [case for case in shop.rows(recovery_case) if case["debt_id"] == paid_by_hand]
    assert (marked["state"], marked["look_after"] is not None) == ("open", True)
    shop.app.drain(owner="test")
    assert {case["state"] for case in shop.rows(recovery_case) if case["id"] == marked["id"]} == {
        "paid_elsewhere"
    }
    shop.later(timedelta(days=1))
    assert shop.app.reconcile().whole, "once a day the whole window is compared"


@pytest.mark.parametrize("kind", ["failed_invoice", "failed_intent"])
def test_each_lie_of_the_ledger_is_found_once_and_stops_charging(shop: Shop, kind: str) -> None:
    debt = shop.owe(kind)
    shop.retry()
    shop.later()
    assert shop.app.reconcile().agreed
    shop.lie("UPDATE attempt SET state = 'declined'")
    assert not shop.app.reconcile().agreed
    assert shop.kinds() == ["success_unknown"]
    (switch,) = shop.rows(control)
    assert (switch["charging_enabled"], switch["mailing_enabled"], switch["changed_by"]) == (
        False,
        True,
        "reconciler",
    )
    assert "attempt" in switch["reason"]
    shop.later(timedelta(hours=3))
    assert not shop.app.reconcile().agreed, "it stays in dispute after the window has moved on"
    shop.lie("UPDATE attempt SET state = 'succeeded'")
    assert shop.app.reconcile().agreed
    assert shop.kinds() == []
    assert not shop.rows(control)[0]["charging_enabled"], "only a person resumes"
    resume(shop.app.ledger, "default", "seen", "me", shop.stripe.now())
    taken = shop.stripe.charges_of(debt)[-1]["id"]
    shop.stripe.fixture("amend", object="charges", id=taken, fields={"amount": 1})
    shop.app.reconcile(whole=True)
    assert shop.kinds() == ["amount_differs"]
    (found,) = anomalies.still_open(shop.app.ledger)
    with shop.app.ledger.write() as connection:
        assert anomalies.settle(connection, found["id"], shop.stripe.now(), "me")
    assert shop.app.reconcile(whole=True).agreed, "what a person has settled is not raised again"


def test_a_success_that_stripe_does_not_show_and_a_lost_attempt(shop: Shop) -> None:
    debt = shop.owe("failed_invoice", passes=False)
    shop.retry()
    shop.later()
    shop.lie("UPDATE attempt SET state = 'succeeded'")
    shop.app.reconcile()
    assert shop.kinds() == ["success_not_at_stripe"]
    shop.lie("DELETE FROM case_event")
    shop.lie("DELETE FROM attempt")
    shop.app.reconcile(whole=True)
    assert shop.kinds() == ["attempt_missing"]
    shop.lie("DELETE FROM message")
    shop.lie("DELETE FROM cap_refusal")
    shop.lie(f"DELETE FROM recovery_case WHERE debt_id = '{debt}'")
    shop.app.reconcile(whole=True)
    assert shop.kinds() == ["attempt_missing"], "the request's key names it where no case is left"


def test_a_second_success_proposes_a_refund_and_is_settled_by_it(shop: Shop) -> None:
    debt = shop.owe("failed_invoice")
    shop.retry()
    shop.later(timedelta(days=2))
    assert shop.app.reconcile().agreed
    made = shop.stripe.fixture("bypass_charge", debt=debt)["charge"]
    shop.later()
    shop.app.reconcile()
    (found,) = anomalies.still_open(shop.app.ledger)
    assert (found["kind"], found["charge_id"], found["proposal"]) == ("paid_twice", made, f"refund {made}")
    shop.stripe.fixture(
        "amend", object="charges", id=made, fields={"refunded": True, "amount_refunded": 1900}
    )
    assert shop.app.reconcile().agreed
    assert shop.stripe.book()["double_charges"] == 0


def test_the_reconcilers_key_can_write_nothing(shop: Shop, tmp_path: Path) -> None:
    settings = shop.app.settings.model_copy(update={"stripe_secret_key": shop.app.settings.reconcile_key})
    gateway = App(settings.model_copy(update={"charging": "dry_run"})).account().gateway
    debt = shop.owe("failed_invoice")
    before = shop.stripe.book()["digest"]
    for path in (f"/v1/invoices/{debt}/pay", f"/v1/invoices/{debt}/void", "/v1/customers", "/v1/refunds"):
        assert gateway.post(path, {}, f"test:{path}", gateway.api_version).http_status == 403
    assert shop.stripe.book()["digest"] == before


def test_a_key_that_is_refused_or_of_another_mode_is_said_plainly(shop: Shop, tmp_path: Path) -> None:
    base, url = shop.app.settings.stripe_api_base, shop.app.settings.ledger
    refused = Shop(base, tmp_path / "state", ledger_url=url, reconcile_key="rk_test_nobody")
    with pytest.raises(GatewayError, match="key is refused"):
        refused.app.reconcile()
    refused.app.ledger.close()
    live = Shop(base, tmp_path / "state", ledger_url=url, reconcile_key="rk_" + "live_" + "0" * 8)
    with pytest.raises(SettingsError, match="another mode"):
        live.app.reconcile()
    live.app.ledger.close()
    assert shop.rows(reconciliation) == []
    assert shop.rows(attempt) == []
