"""Which payments failed, as a table of cases over a small lake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lake.rows import put
from tests.lake.stripe_objects import (
    DAY,
    START,
    charge,
    customer,
    intent,
    invoice,
    invoice_payment,
    method,
    paid,
    subscription,
)
from tinko_pipelines.lake.debts import FAILED_PAYMENTS, failed_payments
from tinko_pipelines.lake.store import Lake

NOW = datetime.fromtimestamp(START + 30 * DAY, UTC)


def debts(folder: Path, *items: dict[str, Any]) -> list[dict[str, Any]]:
    lake = Lake(folder)
    put(lake, NOW, *items)
    table = failed_payments(lake, NOW)
    assert table.schema == FAILED_PAYMENTS
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def billed(*charges: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return [
        invoice("in_1", START, **changes),
        invoice_payment("inpay_1", START, "in_1", "pi_1"),
        intent("pi_1", START),
        subscription("sub_1", START),
        customer("cus_1", START),
        method("pm_1", START),
        *charges,
    ]


def test_an_empty_lake_has_no_failed_payments(tmp_path: Path) -> None:
    assert debts(tmp_path) == []


def test_a_failed_invoice_is_one_debt_however_often_it_was_tried(tmp_path: Path) -> None:
    [row] = debts(
        tmp_path,
        *billed(charge("ch_1", START), charge("ch_2", START + DAY), next_payment_attempt=START + 3 * DAY),
    )
    assert (row["debt_kind"], row["debt_id"], row["status"]) == ("invoice", "in_1", "open")
    assert (row["first_charge_id"], row["last_charge_id"], row["failed_charges"]) == ("ch_1", "ch_2", 2)
    assert (row["code"], row["network_decline_code"]) == ("insufficient_funds", "51")
    assert (row["payment_method_id"], row["card_country"]) == ("pm_1", "US")
    assert row["next_payment_attempt_at"] == datetime.fromtimestamp(START + 3 * DAY, UTC)
    assert (row["subscription_status"], row["preferred_locale"]) == ("past_due", "de-DE")
    assert not row["card_changed_since_failure"]


def test_a_debt_whose_first_charge_passed_never_failed(tmp_path: Path) -> None:
    assert debts(tmp_path, *billed(paid("ch_1", START), charge("ch_2", START + DAY))) == []


def test_a_charge_after_the_moment_asked_about_does_not_count(tmp_path: Path) -> None:
    assert debts(tmp_path, charge("ch_1", START + 40 * DAY)) == []


def test_what_is_reserved_and_not_captured_is_no_payment(tmp_path: Path) -> None:
    reserved = paid("ch_2", START + DAY, captured=False)
    other = paid("ch_3", START + DAY, captured=False, payment_intent="pi_2")
    [row] = debts(
        tmp_path, charge("ch_1", START), reserved, other, intent("pi_1", START), intent("pi_2", START)
    )
    assert (row["status"], row["paid_at"], row["paid_charge_id"]) == ("open", None, None)
    assert row["paid_elsewhere_by"] is None


def test_a_debt_paid_later_is_paid_once_with_its_charge(tmp_path: Path) -> None:
    [row] = debts(tmp_path, *billed(charge("ch_1", START), paid("ch_2", START + DAY), status="paid"))
    assert (row["status"], row["paid_charge_id"]) == ("paid", "ch_2")
    assert row["paid_at"] == datetime.fromtimestamp(START + DAY, UTC)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "void"}, "void"),
        ({"status": "uncollectible"}, "uncollectible"),
        ({"status": "open"}, "open"),
    ],
)
def test_the_state_of_an_invoice_is_the_state_of_its_debt(
    changes: dict[str, Any], status: str, tmp_path: Path
) -> None:
    assert debts(tmp_path, *billed(charge("ch_1", START), **changes))[0]["status"] == status


def test_a_refunded_payment_is_neither_open_nor_paid(tmp_path: Path) -> None:
    back = paid("ch_2", START + DAY, amount_refunded=1900, refunded=True)
    [row] = debts(tmp_path, *billed(charge("ch_1", START), back, status="paid"))
    assert (row["status"], row["refunded_minor"]) == ("refunded", 1900)


def test_another_default_card_is_the_one_to_try(tmp_path: Path) -> None:
    other = method("pm_2", START + DAY, card={"brand": "visa", "country": "US", "fingerprint": "fp_2"})
    wealthy = customer("cus_1", START, invoice_settings={"default_payment_method": "pm_2"})
    items = [item for item in billed(charge("ch_1", START)) if item["object"] != "customer"]
    [row] = debts(tmp_path, *items, other, wealthy)
    assert (row["payment_method_id"], row["card_fingerprint"]) == ("pm_2", "fp_2")
    assert row["card_changed_since_failure"]


def test_what_remains_owed_is_the_amount(tmp_path: Path) -> None:
    assert debts(tmp_path, *billed(charge("ch_1", START), amount_remaining=500))[0]["amount_minor"] == 500


def one_off(**changes: Any) -> list[dict[str, Any]]:
    return [
        customer("cus_1", START),
        method("pm_1", START),
        intent("pi_1", START, **changes),
        charge("ch_1", START),
    ]


@pytest.mark.parametrize(
    ("extra", "consent"),
    [
        ([], False),
        ([intent("pi_0", START - DAY, setup_future_usage="off_session"),
          paid("ch_0", START - DAY, payment_intent="pi_0", amount=700)], True),
        ([intent("pi_0", START - DAY), paid("ch_0", START - DAY, payment_intent="pi_0", amount=700)], False),
    ],
)  # fmt: skip
def test_off_session_consent_needs_evidence(
    extra: list[dict[str, Any]], consent: bool, tmp_path: Path
) -> None:
    [row] = debts(tmp_path, *one_off(), *extra)
    assert row["off_session_consent"] is consent


def test_consent_of_the_intent_itself_needs_the_card_attached(tmp_path: Path) -> None:
    assert debts(tmp_path / "a", *one_off(setup_future_usage="off_session"))[0]["off_session_consent"]
    gone = [item for item in one_off(setup_future_usage="off_session") if item["object"] != "payment_method"]
    [row] = debts(tmp_path / "b", *gone, method("pm_1", START, customer=None))
    assert not row["off_session_consent"]


@pytest.mark.parametrize(
    ("mine", "theirs", "elsewhere"),
    [
        ({}, {}, "pi_2"),
        ({"order_id": "7"}, {}, "pi_2"),
        ({"order_id": "7"}, {"order_id": "7"}, "pi_2"),
        ({"order_id": "7"}, {"order_id": "8"}, None),
    ],
)
def test_paid_by_another_intent_unless_the_orders_differ(
    mine: dict[str, str], theirs: dict[str, str], elsewhere: str | None, tmp_path: Path
) -> None:
    other = [intent("pi_2", START + 60, metadata=theirs), paid("ch_2", START + 60, payment_intent="pi_2")]
    [row] = debts(tmp_path, *one_off(metadata=mine), *other)
    assert row["paid_elsewhere_by"] == elsewhere
    assert row["paid_elsewhere_charge_id"] == ("ch_2" if elsewhere else None)


def test_of_another_intent_its_earliest_success_paid(tmp_path: Path) -> None:
    theirs = {"payment_intent": "pi_2"}
    other = [
        intent("pi_2", START + 60),
        charge("ch_refused", START + 60, **theirs),
        paid("ch_other", START + 120, **theirs),
        paid("ch_later", START + 180, **theirs),
    ]
    put(
        Lake(tmp_path),
        NOW,
        intent("pi_2", START + 60),
        paid("ch_foreign", START + 90, **theirs),
        account_id="another",
    )
    rows = {row["debt_id"]: row for row in debts(tmp_path, *one_off(), *other)}
    row = rows["pi_1"]
    assert (row["paid_elsewhere_by"], row["paid_elsewhere_charge_id"]) == ("pi_2", "ch_other")


@pytest.mark.parametrize(
    "changes", [{"amount": 1800}, {"currency": "eur"}, {"customer": "cus_2"}, {"created": START - 60}]
)
def test_another_payment_that_is_not_the_same_says_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    other = [intent("pi_2", START + 60), paid("ch_2", START + 60, **{"payment_intent": "pi_2", **changes})]
    assert debts(tmp_path, *one_off(), *other)[0]["paid_elsewhere_by"] is None


def test_next_months_invoice_does_not_pay_this_months(tmp_path: Path) -> None:
    later = [
        invoice("in_2", START + 60, status="paid"),
        invoice_payment("inpay_2", START + 60, "in_2", "pi_2"),
        intent("pi_2", START + 60, status="succeeded"),
        paid("ch_2", START + 60, payment_intent="pi_2"),
    ]
    [row] = debts(tmp_path, *billed(charge("ch_1", START)), *later)
    assert (row["debt_id"], row["paid_elsewhere_by"], row["status"]) == ("in_1", None, "open")


def test_a_legacy_charge_is_its_own_debt(tmp_path: Path) -> None:
    [row] = debts(tmp_path, charge("ch_1", START, payment_intent=None))
    assert (row["debt_kind"], row["debt_id"]) == ("charge", "ch_1")


def test_a_dispute_of_the_payment_is_seen(tmp_path: Path) -> None:
    dispute = {"id": "du_1", "object": "dispute", "created": START + 2 * DAY, "charge": "ch_2", "amount": 1900,
               "currency": "usd"}  # fmt: skip
    [row] = debts(tmp_path, *billed(charge("ch_1", START), paid("ch_2", START + DAY), status="paid"), dispute)
    assert row["disputed"]


def paged(*items: dict[str, Any], **session: Any) -> list[dict[str, Any]]:
    """A debt whose first intent gave way to a page of ours."""
    page = {
        "id": "cs_1", "object": "checkout.session", "created": START + DAY, "status": "open", "mode": "payment",
        "payment_status": "unpaid", "customer": "cus_1", "currency": "usd", "amount_total": 1900,
        "payment_intent": None, "expires_at": START + 40 * DAY, "metadata": {"tinko_debt": "pi_1"},
    }  # fmt: skip
    return [*one_off(status="canceled", setup_future_usage="off_session"), {**page, **session}, *items]


OF_PAGE = {"tinko_debt": "pi_1", "tinko_page": "1"}


@pytest.mark.parametrize(
    ("session", "status"),
    [({}, "open"), ({"status": "expired"}, "canceled"), ({"expires_at": START + 2 * DAY}, "canceled")],
)
def test_a_debt_is_open_while_its_page_is(session: dict[str, Any], status: str, tmp_path: Path) -> None:
    [row] = debts(tmp_path, *paged(**session))
    assert (row["status"], row["payment_intent_id"]) == (status, "pi_1")


def test_a_debt_is_as_open_as_its_newest_intent(tmp_path: Path) -> None:
    tried = intent("pi_2", START + DAY, status="canceled", metadata=OF_PAGE)
    successor = intent("pi_3", START + 2 * DAY, metadata={"tinko_debt": "pi_1"})
    [row] = debts(tmp_path / "a", *paged(tried, successor, status="expired"))
    assert (row["debt_id"], row["status"], row["payment_intent_id"]) == ("pi_1", "open", "pi_3")
    [row] = debts(tmp_path / "b", *paged(tried, {**successor, "status": "canceled"}, status="expired"))
    assert row["status"] == "canceled"


def test_a_card_tried_in_vain_on_a_page_is_not_the_one_that_is_retried(tmp_path: Path) -> None:
    tried = intent("pi_2", START + DAY, status="canceled", metadata=OF_PAGE)
    successor = intent(
        "pi_3", START + 2 * DAY, setup_future_usage="off_session", metadata={"tinko_debt": "pi_1"}
    )
    refused = {"type": "issuer_declined", "reason": "incorrect_cvc"}
    typed = charge("ch_2", START + DAY, payment_intent="pi_2", payment_method="pm_9", outcome=refused)
    [row] = debts(tmp_path / "a", *paged(tried, successor, typed, status="expired"))
    assert (row["last_charge_id"], row["code"], row["payment_method_id"]) == (
        "ch_1",
        "insufficient_funds",
        "pm_1",
    )
    assert (row["failed_charges"], row["off_session_consent"]) == (2, True)
    assert row["last_failed_at"] == datetime.fromtimestamp(START, UTC)
    won = paid("ch_3", START + DAY + 60, payment_intent="pi_2", payment_method="pm_9")
    [row] = debts(tmp_path / "b", *paged(tried, typed, won, status="complete"))
    assert (row["status"], row["paid_charge_id"]) == ("paid", "ch_3")
