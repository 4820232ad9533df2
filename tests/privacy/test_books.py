"""The ledger without a person, on both databases: what is taken out, what stays, and that no rule is looser for others."""

from typing import Any

import pytest
from sqlalchemy import Table, select, update
from sqlalchemy.exc import DBAPIError

from tests.fake_stripe import NOW
from tests.ledger.rows import ACCOUNT, add, add_attempt, add_rule, attempt_values, hours
from tinko_pipelines.errors import InputError
from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.ledger import anomalies, cases, erasure, meta
from tinko_pipelines.ledger.schema import (
    anomaly,
    attempt,
    cap_refusal,
    case_event,
    message,
    network_attempt,
    recovery_case,
    webhook_event,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.privacy.books import Books

IDS = {"cus_ada", "pm_ada", "cardofada", "pi_ada", "ch_ada"}
HIS = {"customer_id": "cus_ada", "card_fingerprint": "cardofada"}


def books(ledger: Ledger) -> Books:
    return Books(ledger, ACCOUNT, Erased(map(hashed, IDS)))


def rows(ledger: Ledger, table: Table) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def declined(ledger: Ledger, name: str, **changes: Any) -> None:
    with ledger.write() as connection:
        add_attempt(connection, name, NOW, "declined", **changes)


def seen(ledger: Ledger, charge: str, at: Any = NOW, **changes: Any) -> None:
    row = {"account_id": ACCOUNT, "livemode": False, "card_brand": "visa", "amount_minor": 1000, "currency": "usd",
           "at": at, "declined": True, "ours": False, **changes}  # fmt: skip
    with ledger.write() as connection:
        add(connection, network_attempt, charge_id=charge, **row)


def test_every_table_loses_the_person_and_keeps_the_money(ledger: Ledger) -> None:
    declined(
        ledger,
        "pi_ada",
        **HIS,
        params='{"payment_method":"pm_ada"}',
        detail="No such customer: 'cus_ada'",
        answer="declined",
    )
    declined(
        ledger,
        "pi_bob",
        customer_id="cus_bob",
        card_fingerprint="cardofbob",
        detail="No such customer: 'cus_bob'",
    )
    seen(ledger, "ch_ada", **HIS)
    seen(ledger, "ch_bob", customer_id="cus_bob", card_fingerprint="cardofbob")
    with ledger.write() as connection:
        of_ada = {"case_id": "pi_ada", "account_id": ACCOUNT}
        connection.execute(update(recovery_case).where(recovery_case.c.id == "pi_ada").values(
            customer_id="cus_ada", payment_method_id="pm_ada", card_fingerprint="cardofada", locale="de"))  # fmt: skip
        case = dict(
            connection.execute(select(recovery_case).where(recovery_case.c.id == "pi_ada")).mappings().one()
        )
        cases.record(connection, case, NOW, "t", "noted", detail="customer cus_ada asked")
        anomalies.note(connection, ACCOUNT, "paid_twice", "pi_ada", NOW, case_id="pi_ada",
                       detail="cus_ada paid twice by ch_ada", proposal="refund charge ch_ada")  # fmt: skip
        add(connection, cap_refusal, **of_ada, rule="r", subject="cardofada 1000 usd", at=NOW, free_at=NOW)
        add(connection, message, **of_ada, id="m1", livemode=False, step=1, kind="dunning", template="t", locale="de",
            state="scheduled", due_at=NOW)  # fmt: skip
        connection.execute(
            update(message).values(subject="Ada, your payment", address_hmac="h1", detail="to cus_ada")
        )
        add(connection, webhook_event, event_id="evt_1", account_id=ACCOUNT, livemode=False, type="customer.updated",
            created_at=NOW, received_at=NOW, object_id="cus_ada",
            payload='{"id":"evt_1","object":"event","created":1,"type":"customer.updated","data":{"object":'
            '{"id":"cus_ada","object":"customer","name":"Ada"}}}')  # fmt: skip
    told = books(ledger).left()
    assert told == {"recovery_case": 1, "attempt": 1, "message": 1, "case_event": 1, "cap_refusal": 1, "anomaly": 1,
                    "network_attempt": 1, "webhook_event": 1}  # fmt: skip
    assert books(ledger).living() == ["pi_ada"]
    bob = [row for row in rows(ledger, attempt) if row["case_id"] == "pi_bob"]
    books(ledger).empty(NOW)
    books(ledger).empty(NOW)
    assert (books(ledger).left(), books(ledger).living()) == ({}, [])
    text = str([rows(ledger, table) for table in recovery_case.metadata.sorted_tables])
    assert not [one for one in ("cus_ada", "pm_ada", "cardofada", "Ada", "h1") if one in text]
    (case,) = [row for row in rows(ledger, recovery_case) if row["id"] == "pi_ada"]
    assert (case["state"], case["state_reason"]) == ("cancelled", "the person was erased")
    assert (case["amount_minor"], case["currency"], case["debt_id"]) == (1000, "usd", "pi_ada")
    assert [(row["state"], row["drop_reason"]) for row in rows(ledger, message)] == [
        ("dropped", "case cancelled: the person was erased")
    ]
    (odd,) = rows(ledger, anomaly)
    assert (odd["detail"], odd["proposal"]) == ("erased paid twice by ch_ada", "refund charge ch_ada")
    assert [row for row in rows(ledger, attempt) if row["case_id"] == "pi_bob"] == bob
    assert {row["charge_id"]: row["customer_id"] for row in rows(ledger, network_attempt)} == {
        "ch_ada": None,
        "ch_bob": "cus_bob",
    }


def test_who_has_an_unsettled_attempt_is_not_erased(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "pi_ada", NOW, "unknown", **HIS)
    (why,) = books(ledger).busy()
    assert "wait until it is settled, see `tinko case show pi_ada`" in why
    with pytest.raises(InputError, match="is unknown: wait until it is settled"):
        books(ledger).empty(NOW)
    assert rows(ledger, attempt)[0]["customer_id"] == "cus_ada"


def test_a_card_that_others_use_goes_on_counting(ledger: Ledger) -> None:
    declined(ledger, "pi_ada", **HIS)
    seen(ledger, "ch_ada", **HIS)
    seen(ledger, "ch_bob", at=NOW - hours(50), customer_id="cus_bob", card_fingerprint="cardofada")
    with ledger.write() as connection:
        add_rule(connection, "fingerprint", 2, 720)
    books(ledger).empty(NOW)
    assert books(ledger).left() == {}
    assert rows(ledger, attempt)[0]["customer_id"] is None
    with pytest.raises(DBAPIError, match="attempt cap reached"), ledger.write() as connection:
        add_attempt(connection, "pi_bob", NOW + hours(1), customer_id="cus_bob", card_fingerprint="cardofada")


def test_a_card_that_is_his_alone_is_forgotten(ledger: Ledger) -> None:
    declined(ledger, "pi_ada", **HIS)
    seen(ledger, "ch_ada", **HIS)
    books(ledger).empty(NOW)
    assert [row["card_fingerprint"] for row in (*rows(ledger, attempt), *rows(ledger, network_attempt))] == [
        None,
        None,
    ]


def test_a_forbidden_card_stays_forbidden(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "pi_ada", NOW, "calling", **HIS)
        connection.execute(update(attempt).values(state="declined", forbids_card=True))
    books(ledger).empty(NOW)
    (kept,) = rows(ledger, attempt)
    assert (kept["card_fingerprint"], kept["customer_id"]) == ("cardofada", None)
    with pytest.raises(DBAPIError, match="card may not be tried again"), ledger.write() as connection:
        add_attempt(connection, "pi_bob", NOW + hours(1), customer_id="cus_bob", card_fingerprint="cardofada")


@pytest.mark.parametrize(
    "changes",
    [
        {"card_fingerprint": "another"},
        {"customer_id": "cus_other"},
        {"params": '{"amount":1}'},
        {"params": "{}"},
        {"amount_minor": 1},
        {"object_id": "pi_other"},
        {"fence": 0},
    ],
    ids=str,
)
def test_the_door_is_no_wider_than_one_person(ledger: Ledger, changes: dict[str, Any]) -> None:
    declined(ledger, "pi_ada", **HIS, params='{"a":1}')
    declined(ledger, "pi_bob", customer_id="cus_bob", card_fingerprint="cardofbob")
    with pytest.raises(DBAPIError), ledger.write() as connection, erasure.door(connection, "pi_ada"):
        connection.execute(update(attempt).where(attempt.c.case_id == "pi_ada").values(**changes))
    for nothing in ({"card_fingerprint": None}, {"customer_id": None}):
        with pytest.raises(DBAPIError, match="frozen"), ledger.write() as connection:
            connection.execute(update(attempt).where(attempt.c.case_id == "pi_ada").values(**nothing))
        with (
            pytest.raises(DBAPIError, match="frozen"),
            ledger.write() as connection,
            erasure.door(connection, "pi_ada"),
        ):
            connection.execute(update(attempt).where(attempt.c.case_id == "pi_bob").values(**nothing))


def test_the_door_leaves_history_and_open_calls_alone(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "pi_ada", NOW, "unknown", **HIS)
        case = {"id": "pi_ada", "account_id": ACCOUNT, "state": "open"}
        cases.record(connection, case, NOW, "t", "noted", detail="x")
    with (
        pytest.raises(DBAPIError, match="frozen"),
        ledger.write() as connection,
        erasure.door(connection, "pi_ada"),
    ):
        connection.execute(update(attempt).values(card_fingerprint=None))
    for changes in ({"detail": "y"}, {"detail": None, "kind": "z"}, {"detail": None, "at": NOW + hours(1)}):
        with (
            pytest.raises(DBAPIError, match="append-only"),
            ledger.write() as connection,
            erasure.door(connection, "pi_ada"),
        ):
            connection.execute(update(case_event).values(**changes))
    with pytest.raises(DBAPIError, match="append-only"), ledger.write() as connection:
        connection.execute(update(case_event).values(detail=None))
    with ledger.read() as connection:
        assert meta.get(connection, "erasing:pi_ada") is None
    assert attempt_values("x", NOW)["card_fingerprint"] == "card"


def test_tombstones_are_hashes_by_account(ledger: Ledger) -> None:
    erasure.remember(ledger, ACCOUNT, map(hashed, IDS), NOW)
    erasure.remember(ledger, ACCOUNT, map(hashed, IDS), NOW)
    assert erasure.known(ledger, ACCOUNT) == {hashed(one) for one in IDS}
    assert erasure.known(ledger, "another") == frozenset()
