from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinko_pipelines.checks import run_invariants
from tinko_pipelines.checks.invariants import INVARIANTS
from tinko_pipelines.checks.run import LAKE_COLUMNS, REPORTED
from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger.export import export
from tinko_pipelines.ledger.store import Ledger

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Rows = dict[str, list[dict[str, Any]]]

ERASED = {"account_id": "default", "id_hash": hashlib.sha256(b"cus_ada").hexdigest(), "erased_at": NOW}


def attempt(n: int, **values: Any) -> dict[str, Any]:
    at = NOW - (10 - n) * HOUR * 24
    row = {
        "id": f"a{n}",
        "case_id": "c1",
        "n": n,
        "idempotency_key": f"tinko:v1:a{n}",
        "account_id": "default",
    }
    row |= {"livemode": False, "amount_minor": 100, "currency": "usd", "object_id": "pi_1", "params": "{}"}
    row |= {
        "params_sha256": hashlib.sha256(b"{}").hexdigest(),
        "card_fingerprint": "f1",
        "card_brand": "visa",
    }
    row |= {"state": "declined", "fence": 1, "prepared_at": at, "called_at": at, "settled_at": at + HOUR}
    return row | {"charge_id": f"ch_{n}"} | values


def charge(name: str, at: datetime, **values: Any) -> dict[str, Any]:
    row = {"id": name, "account_id": "default", "livemode": False, "created_at": at, "fetched_at": NOW}
    row |= {"amount_minor": 100, "currency": "usd", "status": "succeeded", "refunded": False}
    return row | {"payment_intent_id": "pi_1"} | values


def seen(name: str, at: datetime, *, ours: bool) -> dict[str, Any]:
    row = {
        "charge_id": name,
        "account_id": "default",
        "card_fingerprint": "f1",
        "card_brand": "visa",
        "at": at,
    }
    return row | {"amount_minor": 100, "currency": "usd", "declined": True, "ours": ours}


def mail(name: str, **values: Any) -> dict[str, Any]:
    row = {
        "id": name,
        "case_id": "c1",
        "account_id": "default",
        "step": 1,
        "kind": "dunning",
        "state": "sent",
    }
    return (
        row | {"due_at": NOW - 50 * HOUR, "claimed_at": NOW - 50 * HOUR, "message_id_header": name} | values
    )


NOTICE = {
    "id": "n1",
    "account_id": "default",
    "customer_id": "cus_1",
    "payment_method_id": "pm_1",
    "expires_at": NOW,
}


def of_card(name: str, notice: str = "n1", **values: Any) -> dict[str, Any]:
    return mail(name, case_id=None, card_notice_id=notice, kind="card", **values)


OPENED = {"id": 1, "case_id": "c1", "account_id": "default", "kind": "opened", "to_state": "open"}


def again(at: datetime) -> dict[str, Any]:
    row = {"id": 2, "case_id": "c1", "account_id": "default", "at": at, "attempt_id": "a1"}
    return row | {"kind": "attempt_called_again"}


def switch(number: int, hours_ago: float, **values: Any) -> dict[str, Any]:
    row = {"id": number, "scope": "global", "at": NOW - hours_ago * HOUR, "actor": "me"}
    return row | {"charging_enabled": True, "mailing_enabled": True} | values


def reported(**values: Any) -> dict[str, Any]:
    row = {"account_id": "default", "livemode": False, "currency": "usd", "amount_minor": 100}
    return row | {"settled_at": NOW - 48 * HOUR, "is_succeeded": True} | values


def link(name: str, **values: Any) -> dict[str, Any]:
    row = {"id": name, "case_id": "c1", "account_id": "default", "created_at": NOW - 400 * HOUR}
    return row | {"expires_at": NOW + HOUR} | values


def on_page(n: int, **values: Any) -> dict[str, Any]:
    line = {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": values.pop("asked", 100)}}
    params = json.dumps({"line_items": [line]})
    hashed = {"params": params, "params_sha256": hashlib.sha256(params.encode()).hexdigest()}
    row = {"operation": "checkout.session", "executed": False, "card_fingerprint": None, "charge_id": None}
    return attempt(n, state="abandoned", **row) | hashed | values


def page(n: int, **values: Any) -> dict[str, Any]:
    row = {"attempt_id": f"a{n}", "case_id": "c1", "account_id": "default", "link_id": "l1"}
    return row | {"session_id": f"cs_{n}", "expires_at": NOW + HOUR} | values


def clean() -> Rows:
    case = {
        "id": "c1",
        "account_id": "default",
        "livemode": False,
        "debt_id": "pi_1",
        "live_object_id": "pi_1",
    }
    case |= {"amount_minor": 100, "currency": "usd", "state": "open", "due_at": NOW + HOUR}
    case |= {"plan_ends_at": NOW + 100 * HOUR, "updated_at": NOW - 100 * HOUR}
    cap = {"rule": "r", "network": "visa", "keyed_by": "fingerprint", "max_attempts": 2, "window_hours": 24}
    return {
        "control": [
            {
                "scope": "global",
                "charging_enabled": True,
                "mailing_enabled": True,
                "changed_at": NOW - 9 * HOUR,
            }
        ],
        "recovery_case": [case],
        "attempt": [attempt(1), attempt(2)],
        "charges": [charge("ch_1", NOW - 216 * HOUR, status="failed")],
        "payment_intents": [{"id": "pi_1", "account_id": "default", "metadata": '{"tinko_attempt": "a1"}'}],
        "message": [mail("m1")],
        "case_event": [OPENED],
        "webhook_event": [{"event_id": "e1", "received_at": NOW - HOUR, "processed_at": NOW}],
        "network_attempt": [seen("ch_1", NOW - 2 * HOUR, ours=False), seen("ch_2", NOW - HOUR, ours=True)],
        "cap_rule": [cap | {"valid_from": NOW - 900 * HOUR}],
        "failed_payments": [
            {
                "account_id": "default",
                "debt_id": "pi_1",
                "status": "open",
                "first_failed_at": NOW - 300 * HOUR,
                "last_failed_at": NOW - 300 * HOUR,
                "amount_minor": 100,
            }
        ],
    }


PAID_IN_TIME = [
    attempt(1),
    attempt(2, state="succeeded", called_at=NOW - 49 * HOUR, settled_at=NOW - 48 * HOUR),
]
PAID = [attempt(1), attempt(2, state="succeeded")]
BREACHES: dict[str, Rows] = {
    "one_success_per_case": {"attempt": [attempt(1, state="succeeded"), attempt(2, state="succeeded")]},
    "one_payment_per_debt": {"charges": [charge("x", NOW - HOUR), charge("y", NOW - HOUR)]},
    "success_is_the_same_at_stripe": {"attempt": PAID},
    "no_confirm_without_attempt": {
        "payment_intents": [{"id": "pi_1", "account_id": "default", "metadata": '{"tinko_attempt": "gone"}'}]
    },
    "one_key_and_one_hash_per_attempt": {"attempt": [attempt(1, params='{"amount": 5}')]},
    "no_call_after_the_end_or_beside_another": {"attempt": [attempt(1, state="unknown"), attempt(2)]},
    "no_call_after_payment_cancellation_or_dispute": {"charges": [charge("x", NOW - 250 * HOUR)]},
    "charged_what_is_owed": {"attempt": [attempt(1, amount_minor=101)]},
    "modes_never_mix": {"attempt": [attempt(1, livemode=True)]},
    "caps_hold": {
        "network_attempt": [seen(f"ch_{n}", NOW - (4 - n) * HOUR, ours=n == 3) for n in (1, 2, 3)],
    },
    "never_means_never": {"attempt": [attempt(1, decline_code="stolen_card"), attempt(2)]},
    "keys_are_not_used_when_stripe_may_have_forgotten_them": {
        "case_event": [OPENED, again(NOW - 9 * 24 * HOUR + 21 * HOUR)]
    },
    "pause_holds": {"control_event": [switch(1, 900, charging_enabled=False)]},
    "calls_are_leased": {"attempt": [attempt(1, state="calling", owner=None)]},
    "no_attempt_blocks_for_ever": {"attempt": [attempt(1, state="unknown")]},
    "no_silence": {"recovery_case": [clean()["recovery_case"][0] | {"due_at": NOW - HOUR}]},
    "every_failure_has_a_case": {"failed_payments": [clean()["failed_payments"][0] | {"debt_id": "pi_2"}]},
    "webhooks_are_processed": {"webhook_event": [{"event_id": "e1", "received_at": NOW - HOUR}]},
    "history_tells_the_present": {"case_event": [OPENED | {"to_state": "exhausted"}]},
    "mail_is_sent_once_and_only_where_wanted": {"message": [mail("m1"), mail("m2")]},
    "mail_is_not_left_lying": {"message": [mail("m1", state="scheduled")]},
    "a_card_is_written_about_once": {"card_notice": [NOTICE], "card_message": [of_card("m1"), of_card("m2")]},
    "no_secret_is_written_down": {"attempt": [attempt(1, detail="write to somebody@example.com")]},
    "who_was_erased_is_not_kept": {"erasure": [ERASED], "attempt": [attempt(1, customer_id="cus_ada")]},
    "reported_money_is_the_money": {"reported_attempt": [reported()]},
    "links_used_once": {"recovery_link": [link("l1", used_at=NOW)]},
    "pages_hold_the_slot_of_their_case": {"attempt": [on_page(1)]},
    "a_debt_has_one_object_that_can_be_paid": {
        "attempt": [on_page(1, state="succeeded")],
        "checkout_session": [page(1)],
        "recovery_link": [link("l1")],
    },
}
ON_PAGE: Rows = {"recovery_link": [link("l1")], "checkout_session": [page(1)]}
OPEN = {"state": "requires_action", "next_poll_at": NOW + HOUR, "settled_at": None, "lease_until": None}
LATELY = {"prepared_at": NOW - HOUR, "called_at": NOW - HOUR}
UNREAD = [
    attempt(
        n,
        state="abandoned",
        answer="unread",
        called_at=None,
        settled_at=NOW - (10 - n) * HOUR,
        charge_id=None,
    )
    for n in (1, 2, 3)
]
FURTHER: list[tuple[str, Rows]] = [
    ("no_silence", {"attempt": UNREAD}),
    (
        "no_attempt_blocks_for_ever",
        {"attempt": [attempt(1), attempt(2, state="unknown", prepared_at=NOW - 25 * HOUR, called_at=NOW - 25 * HOUR,
                                         next_poll_at=NOW + HOUR)]},
    ),
    ("links_used_once", {"recovery_link": [link("l1", used_at=NOW), link("l2", used_at=NOW)]}),
    ("links_used_once", ON_PAGE | {"attempt": [on_page(1, state="succeeded")]}),
    ("links_used_once", ON_PAGE | {"attempt": [on_page(1)], "recovery_link": [link("l1", revoked_at=NOW - 300 * HOUR)]}),
    ("links_used_once", ON_PAGE | {"attempt": [on_page(1)], "recovery_link": [link("l1", expires_at=NOW - 300 * HOUR)]}),
    ("links_used_once", ON_PAGE | {"attempt": [on_page(1)], "recovery_link": [link("l1", case_id="c2")]}),
    ("links_used_once", {"recovery_link": [link("l1")], "checkout_session": [page(1), page(2)],
                         "attempt": [on_page(1, state="succeeded"), on_page(2, state="succeeded")]}),
    ("pages_hold_the_slot_of_their_case", ON_PAGE | {"attempt": [attempt(1)]}),
    ("pages_hold_the_slot_of_their_case", ON_PAGE | {"attempt": [on_page(1, asked=1)]}),
    ("pages_hold_the_slot_of_their_case", ON_PAGE | {"attempt": [on_page(1, executed=True)]}),
    ("pages_hold_the_slot_of_their_case", ON_PAGE | {"attempt": [on_page(1, **OPEN), attempt(2, state="unknown")]}),
    ("pages_hold_the_slot_of_their_case", {"attempt": [on_page(1, **OPEN)], "checkout_session": [page(1, session_id=None)]}),
    ("a_debt_has_one_object_that_can_be_paid",
     ON_PAGE | {"attempt": [on_page(1, **OPEN)], "checkout_session": [page(1, expires_at=NOW - 25 * HOUR)]}),
    ("one_payment_per_debt", ON_PAGE | {
        "attempt": [on_page(1)], "checkout_session": [page(1, payment_intent_id="pi_9")],
        "charges": [charge("x", NOW - HOUR), charge("y", NOW - HOUR, payment_intent_id="pi_9")]}),
    ("calls_are_leased", {"attempt": [attempt(1, poll_count=2)]}),
    ("calls_are_leased", {"attempt": [attempt(1, lease_until=NOW)]}),
    ("pause_holds", {"control_event": [switch(1, 219, charging_enabled=False), switch(2, 200)]}),
    ("pause_holds", {"control_event": [switch(1, 217, charging_enabled=False, resumes_at=NOW - 215 * HOUR)]}),
    (
        "pause_holds",
        {"control_event": [switch(1, 199, charging_enabled=False), switch(2, 196)],
         "case_event": [OPENED, again(NOW - 198 * HOUR)]},
    ),
    ("no_silence", {"recovery_case": [clean()["recovery_case"][0] | {"due_at": None}]}),
    ("no_silence", {"recovery_case": [clean()["recovery_case"][0] | {"due_at": NOW + 101 * HOUR}]}),
    ("no_silence", {"attempt": [attempt(1), attempt(2, state="unknown", next_poll_at=NOW - HOUR)]}),
    ("history_tells_the_present", {"case_event": []}),
    (
        "history_tells_the_present",
        {"case_event": [OPENED | {"to_state": "planned"}, OPENED | {"id": 2, "from_state": "detected"}]},
    ),
    ("no_secret_is_written_down", {"attempt": [attempt(1, detail="sk_" + "live_" + "0123456789ab")]}),
    ("no_secret_is_written_down", {"case_event": [OPENED | {"detail": "whsec_0123456789"}]}),
    ("a_card_is_written_about_once", {"card_notice": [NOTICE], "card_message": [of_card("m1", claimed_at=NOW)]}),
    ("a_card_is_written_about_once", {"card_notice": [NOTICE], "card_message": [of_card("m1", address_hmac="h")],
      "suppression": [{"address_hmac": "h", "at": NOW - 60 * HOUR}]}),
    ("a_card_is_written_about_once", {"card_notice": [NOTICE, NOTICE | {"id": "n2"}],
      "card_message": [of_card("m1"), of_card("m2", "n2")]}),
    ("a_card_is_written_about_once", {"card_message": [of_card("m1", "gone")]}),
    ("mail_is_not_left_lying", {"card_notice": [NOTICE], "card_message": [of_card("m1", state="scheduled")]}),
    ("who_was_erased_is_not_kept", {"erasure": [ERASED], "card_notice": [NOTICE | {"customer_id": "cus_ada"}]}),
    ("no_secret_is_written_down", {"recovery_case": [
        clean()["recovery_case"][0] | {"state_reason": "card 4242424242424242 refused"}]}),
    ("who_was_erased_is_not_kept", {"erasure": [ERASED], "customers": [{"id": "cus_ada", "account_id": "default"}]}),
    ("who_was_erased_is_not_kept", {"erasure": [ERASED], "charges": [charge("ch_1", NOW, payment_method_id="cus_ada")]}),
    ("reported_money_is_the_money", {"attempt": PAID_IN_TIME}),
    ("reported_money_is_the_money", {"attempt": PAID_IN_TIME, "reported_attempt": [reported(amount_minor=99)]}),
    ("reported_money_is_the_money", {"attempt": PAID_IN_TIME, "reported_attempt": [reported()],
      "charges": [charge("ch_2", NOW - 48 * HOUR, amount_minor=101)]}),
    ("reported_money_is_the_money", {"attempt": PAID_IN_TIME, "reported_attempt": [reported()],
      "balance_transactions": [{"id": "txn_1", "account_id": "default", "source_id": "ch_2", "type": "charge",
                                "amount_minor": 99, "currency": "usd"}]}),
]  # fmt: skip
SOUND: dict[str, Rows] = {
    "a page that is open": ON_PAGE
    | {
        "attempt": [attempt(1), on_page(2, **OPEN, **LATELY)],
        "checkout_session": [page(2)],
        "charges": [charge("ch_1", NOW - 216 * HOUR, status="failed", fetched_at=NOW)],
        "payment_intents": [{"id": "pi_1", "account_id": "default", "canceled_at": NOW - HOUR}],
    },
    "a page that came to nothing": ON_PAGE | {"attempt": [on_page(1), attempt(2)]},
    "looks in vain that somebody was told of": {
        "attempt": UNREAD,
        "anomaly": [
            {"id": 1, "account_id": "default", "kind": "stripe_unreadable", "subject": "c1", "at": NOW - HOUR}
        ],
    },
    "a customer who was erased in another account": {
        "erasure": [ERASED | {"account_id": "another"}],
        "customers": [{"id": "cus_ada", "account_id": "default"}],
    },
    "two cards written about before they end": {
        "card_notice": [NOTICE, NOTICE | {"id": "n2", "payment_method_id": "pm_2"}],
        "card_message": [of_card("k1"), of_card("k2", "n2")],
    },
    "a charge that is not captured yet": {
        "attempt": [
            attempt(
                1, state="processing", next_poll_at=NOW + HOUR, prepared_at=NOW - HOUR, called_at=NOW - HOUR
            )
        ],
        "charges": [charge("ch_1", NOW - HOUR, captured=False)],
    },
    "two looks in vain": {"attempt": UNREAD[:2]},
    "a pause between two calls": {"control_event": [switch(1, 210, charging_enabled=False), switch(2, 200)]},
    "a pause that ended by itself": {
        "control_event": [switch(1, 217, charging_enabled=False, resumes_at=NOW - 216.5 * HOUR)]
    },
    "a pause of another account": {
        "control_event": [switch(1, 900, charging_enabled=False) | {"scope": "other"}]
    },
    "a call repeated in time": {"case_event": [OPENED, again(NOW - 9 * 24 * HOUR + 19 * HOUR)]},
    "due while paused": {
        "recovery_case": [clean()["recovery_case"][0] | {"due_at": NOW - HOUR}],
        "control": [clean()["control"][0] | {"charging_enabled": False}],
        "control_event": [switch(1, 9, charging_enabled=False)],
    },
    "numbers that are no card": {"attempt": [attempt(1, detail="order 4242424242424243"), attempt(2)]},
    "report and ledger": {
        "attempt": PAID_IN_TIME,
        "reported_attempt": [reported()],
        "charges": [charge("ch_2", NOW - 48 * HOUR)],
        "recovery_case": [clean()["recovery_case"][0] | {"state": "recovered", "due_at": None}],
        "case_event": [OPENED, OPENED | {"id": 2, "from_state": "open", "to_state": "recovered"}],
    },
}


@pytest.fixture(scope="module")
def empty_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}")
    ledger.migrate()
    export(ledger, folder, NOW)
    return folder


def broken(empty: Path, root: Path, changes: Rows) -> dict[str, int]:
    rows = clean() | changes
    for path in empty.glob("*.parquet"):
        schema = pq.read_schema(path)
        pq.write_table(pa.Table.from_pylist(rows.get(path.stem, []), schema=schema), root / path.name)
    kinds = {"VARCHAR": pa.string(), "BOOLEAN": pa.bool_(), "BIGINT": pa.int64()}
    for name, columns in LAKE_COLUMNS.items():
        pairs = [column.split() for column in columns.split(",")]
        schema = pa.schema(
            [(column, kinds.get(kind, pa.timestamp("us", tz="UTC"))) for column, kind in pairs]
        )
        folder = root / "derived" if name == "failed_payments" else root / "tables" / name
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows.get(name, []), schema=schema), folder / f"{name}.parquet")
    report = root / "report.duckdb"
    with duckdb.connect(str(report)) as connection:
        for name, (mart, columns) in REPORTED.items():
            connection.execute(f"CREATE TABLE {mart} ({columns})")
            values = rows.get(name, [{"as_of": NOW}] if name == "reported_at" else [])
            for value in values:
                marks = ", ".join("?" for _ in value)
                connection.execute(
                    f"INSERT INTO {mart} ({', '.join(value)}) VALUES ({marks})", list(value.values())
                )
    results = run_invariants(root, root, NOW, report=report)
    assert all(bool(result.sample) == bool(result.rows) for result in results)
    return {result.name: result.rows for result in results if result.rows}


def test_every_invariant_has_a_breach() -> None:
    assert set(BREACHES) == {invariant.name for invariant in INVARIANTS}
    assert len({invariant.number for invariant in INVARIANTS}) == len(INVARIANTS)


def test_a_clean_ledger_breaks_none(empty_export: Path, tmp_path: Path) -> None:
    assert broken(empty_export, tmp_path, {}) == {}


def test_an_empty_ledger_without_a_lake_breaks_none(empty_export: Path, tmp_path: Path) -> None:
    assert not [result for result in run_invariants(empty_export, tmp_path, NOW) if result.rows]


@pytest.mark.parametrize(("name", "changes"), FURTHER)
def test_each_way_of_breaking_it_is_found(
    name: str, changes: Rows, empty_export: Path, tmp_path: Path
) -> None:
    assert broken(empty_export, tmp_path, changes).get(name, 0) > 0


@pytest.mark.parametrize("name", sorted(SOUND))
def test_what_only_looks_broken_is_not(name: str, empty_export: Path, tmp_path: Path) -> None:
    assert broken(empty_export, tmp_path, SOUND[name]) == {}


@pytest.mark.parametrize("name", sorted(BREACHES))
def test_each_breach_is_found(name: str, empty_export: Path, tmp_path: Path) -> None:
    assert broken(empty_export, tmp_path, BREACHES[name]).get(name, 0) > 0


def test_a_missing_export_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="export the ledger first"):
        run_invariants(tmp_path, tmp_path, NOW)
