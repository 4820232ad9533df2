"""Trouble with one case stays with that case; trouble with the key stops the account; and outcomes are found soon."""

import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import pytest
from sqlalchemy import select, text

from tests.fake_stripe import NOW, FakeStripe, failed_row, failed_table
from tests.retry.test_drain import rows, run
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import anomalies, attempts
from tinko_pipelines.ledger.schema import attempt, control, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import inbox
from tinko_pipelines.retry.breaker import Limits
from tinko_pipelines.retry.drain import drain
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy


class Troubled(FakeStripe):
    """Loses calls before they arrive, refuses the key, or both, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.refuse_key = False
        self.looked_at: list[str] = []

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        self.looked_at.append(path.rpartition("/")[2])
        if self.refuse_key:
            return Answer(401, {"error": {}}, message="Invalid API Key provided")
        return super().get(path, params)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        if path.endswith("/confirm") and path.split("/")[3] in self.lost:
            return Answer(None, transport_error="reset")
        return super().post(path, params, idempotency_key, api_version)


def planned(ledger: Ledger, fake: FakeStripe, *names: str) -> None:
    for name in names:
        fake.add(name, passes=True)
    table = failed_table(*(failed_row(name, customer_id=f"cus_{name}") for name in names))
    enrol(ledger, table, now=NOW, policy=Policy())


def case_of(ledger: Ledger, name: str) -> dict[str, Any]:
    return next(case for case in rows(ledger, recovery_case) if case["debt_id"] == name)


def test_an_object_that_makes_no_sense_stops_no_other_case(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_odd", "pi_good")
    fake.intents["pi_odd"]["metadata"] = ["not", "a", "mapping"]
    result = run(ledger, fake, 8)
    assert (result.failed, result.succeeded) == (1, 1)
    odd = case_of(ledger, "pi_odd")
    assert (odd["state"], odd["due_at"] > fake.now) == ("open", True)
    assert [row["state"] for row in rows(ledger, attempt) if row["case_id"] == odd["id"]] == ["abandoned"]
    (found,) = anomalies.still_open(ledger)
    assert (found["kind"], found["case_id"]) == ("case_failed", odd["id"])
    assert "AttributeError" in found["detail"]
    fake.intents["pi_odd"]["metadata"] = {}
    for day in (8.3, 9.0):
        run(ledger, fake, day)
    assert case_of(ledger, "pi_odd")["state"] == "recovered"


@pytest.mark.parametrize("where", ["card", "charge"])
def test_a_value_too_large_to_store_stops_no_other_case(ledger: Ledger, where: str) -> None:
    large = secrets.token_hex(20_000)

    class Oversized(Troubled):
        """The customer has a card, or his payment makes a charge, with a name that no index of PostgreSQL holds."""

        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if path.endswith("/pm_pi_odd"):
                return Answer(200, {"id": "pm_pi_odd", "type": "card", "customer": "cus_odd"})
            if (params or {}).get("customer") != "cus_odd" or where != "card":
                return super().get(path, params)
            card = {"type": "card", "card": {"fingerprint": large, "brand": "visa"}}
            other = {
                "id": "ch_x",
                "amount": 1,
                "currency": "usd",
                "created": 1,
                "status": "failed",
                "livemode": False,
            }
            return Answer(200, {"data": [{**other, "payment_method_details": card}]})

        def post(
            self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str
        ) -> Answer:
            answer = super().post(path, params, idempotency_key, api_version)
            if where == "charge" and answer.body and "pi_odd/confirm" in path:
                self.charges[-1]["id"] = large
                return replace(answer, body={**answer.body, "latest_charge": large})
            return answer

    fake = Oversized()
    planned(ledger, fake, "pi_odd", "pi_good")
    fake.intents["pi_odd"]["customer"] = "cus_odd"
    result = run(ledger, fake, 8)
    odd = case_of(ledger, "pi_odd")
    assert case_of(ledger, "pi_good")["state"] == "recovered"
    if ledger.dialect == "sqlite":
        assert (result.succeeded, odd["state"]) == (2, "recovered")
        return
    assert (result.failed, result.succeeded) == (1, 1)
    assert [found["case_id"] for found in anomalies.still_open(ledger)] == [odd["id"]]
    run(ledger, fake, 9)
    held = [row["state"] for row in rows(ledger, attempt) if row["case_id"] == odd["id"]]
    assert set(held) == {"abandoned"} if where == "card" else held == ["unknown"]
    assert fake.succeeded("pi_odd") == (where == "charge")


def test_parameters_that_were_changed_are_never_sent(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_changed", "pi_good")
    fake.lost = {"pi_changed"}
    run(ledger, fake, 8)
    with ledger.write() as connection:
        on = " ON attempt" if ledger.dialect == "postgresql" else ""
        connection.execute(text(f"DROP TRIGGER tinko_attempt_frozen{on}"))
        connection.execute(attempt.update().values(params="{}").where(attempt.c.state == "unknown"))
    fake.lost = set()
    run(ledger, fake, 8.1)
    case = case_of(ledger, "pi_changed")
    assert (case["state"], fake.succeeded("pi_changed")) == ("needs_human", 0)
    assert "do not match their hash" in case["state_reason"]
    assert [found["case_id"] for found in anomalies.still_open(ledger)] == [case["id"]]
    assert case_of(ledger, "pi_good")["state"] == "recovered"


@pytest.mark.parametrize("asks", ["janitor", "inbox", "preflight"])
def test_a_refused_key_stops_the_account(ledger: Ledger, asks: str) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1", "pi_2")
    if asks == "janitor":
        fake.lost = {"pi_1"}
        run(ledger, fake, 8)
    elif asks == "inbox":
        tell(ledger, "pi_1")
    fake.refuse_key = True
    with pytest.raises(GatewayError, match="refuses the key"):
        run(ledger, fake, 8.2)
    (switch,) = [row for row in rows(ledger, control) if row["scope"] == "default"]
    assert not switch["charging_enabled"]
    assert case_of(ledger, "pi_1")["state"] == "open"


def test_a_key_known_with_other_parameters_is_a_persons_business(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    run(ledger, fake, 8)
    (row,) = rows(ledger, attempt)
    refused = {"error": {"type": "idempotency_error", "message": "other parameters"}}
    fake.saved[row["idempotency_key"]] = (400, refused)
    fake.lost = set()
    run(ledger, fake, 8.1)
    case = case_of(ledger, "pi_1")
    assert case["state"] == "needs_human"
    assert [found["kind"] for found in anomalies.still_open(ledger)] == ["idempotency_error"]
    run(ledger, fake, 12)
    assert (rows(ledger, attempt)[0]["state"], case_of(ledger, "pi_1")["state"]) == (
        "abandoned",
        "needs_human",
    )
    assert len(rows(ledger, attempt)) == 1


def tell(ledger: Ledger, name: str | None, kind: str = "payment_intent.payment_failed") -> None:
    with ledger.write() as connection:
        number = len(connection.execute(select(webhook_event.c.event_id)).all())
        event = {"event_id": f"evt_{number}", "account_id": "default", "livemode": False, "type": kind}
        connection.execute(
            webhook_event.insert().values(created_at=NOW, received_at=NOW, object_id=name, **event)
        )


def test_who_was_marked_first_is_looked_at_first_and_nobody_starves(ledger: Ledger) -> None:
    fake = Troubled()
    names = [f"pi_{number}" for number in range(4)]
    planned(ledger, fake, *names)
    order = [names[2], names[0], names[3], names[1]]
    for minute, name in enumerate(order):
        tell(ledger, name)
        inbox.mark(ledger, NOW + timedelta(minutes=minute))
    tell(ledger, order[0])  # What is told again is not pushed back behind the others.
    inbox.mark(ledger, NOW + timedelta(minutes=30))
    seen = []
    for _ in range(2):
        fake.looked_at.clear()
        assert inbox.look_at_marked(ledger, fake, NOW + timedelta(hours=1), limit=2) == 2
        seen += [name for name in fake.looked_at if name.startswith("pi_")]
    assert seen == order
    assert inbox.look_at_marked(ledger, fake, NOW + timedelta(hours=1)) == 0


@pytest.mark.parametrize("where", ["after_preflight", "before_http"])
def test_a_process_that_slept_after_its_look_charges_nothing_by_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    monkeypatch.setattr(attempts, "LONGEST_PAUSE_SECONDS", 0.2)
    fake.now = NOW + timedelta(days=8)

    def sleep(boundary: str) -> None:
        if boundary == where:
            time.sleep(0.3)

    result = drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=5, owner="t", dry_run=False, boundary=sleep,
    )  # fmt: skip
    assert (result.skipped, fake.charges) == (1, [])
    state = {"after_preflight": "abandoned", "before_http": "calling"}[where]
    assert [row["state"] for row in rows(ledger, attempt)] == [state]
    with ledger.write() as connection:
        connection.execute(attempt.update().where(attempt.c.state == "calling").values(lease_until=None))
    monkeypatch.undo()
    run(ledger, fake, 8.1)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


class MovedClock:
    """A clock that a test moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize(("seconds", "called"), [(60, 1), (61, 0)])
def test_a_look_is_good_for_a_minute(ledger: Ledger, seconds: int, called: int) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    fake.now = NOW + timedelta(days=8)
    clock = MovedClock(fake.now)

    def wait(boundary: str) -> None:
        if boundary == "after_preflight":
            clock.at += timedelta(seconds=seconds)

    result = drain(
        ledger, fake, clock, workers=1, max_seconds=5, owner="t", dry_run=False, boundary=wait,
    )  # fmt: skip
    assert (result.called, len(fake.charges)) == (called, called)
    answers = [row["answer"] for row in rows(ledger, attempt)]
    assert answers == ["succeeded" if called else "held_up"]


@pytest.mark.parametrize(("seconds", "called"), [(60, 1), (61, 0)])
def test_a_look_before_a_repeated_call_is_good_for_a_minute(
    ledger: Ledger, seconds: int, called: int
) -> None:
    class Slow(Troubled):
        """Answers the last look before a call, by the clock that counts, very late."""

        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if path.startswith("/v1/payment_methods/"):
                clock.at += timedelta(seconds=late)
            return super().get(path, params)

    fake, late = Slow(), 0
    clock = MovedClock(NOW)
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}

    def work(days: float) -> dict[str, Any]:
        fake.now = clock.at = NOW + timedelta(days=days)
        drain(
            ledger, fake, clock, workers=1, max_seconds=5, owner="t", dry_run=False, lease_seconds=0.01,
        )  # fmt: skip
        return rows(ledger, attempt)[0]

    first = work(8)
    fake.lost, late = set(), seconds
    row = work(8.1)
    assert (len(fake.charges), row["called_at"]) == (called, first["called_at"])
    newest = NOW + timedelta(days=8.1, seconds=seconds)
    assert row["repeated_at"] == (newest if called else first["repeated_at"])
    late = 0
    work(8.6)
    assert case_of(ledger, "pi_1")["state"] == "recovered"


def test_a_process_that_slept_before_a_repeated_call_does_not_make_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    run(ledger, fake, 8)
    fake.lost, fake.now = set(), NOW + timedelta(days=8.1)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE_SECONDS", 0.2)

    def sleep(boundary: str) -> None:
        if boundary == "janitor_before_call":
            time.sleep(0.3)

    drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=5, owner="t", dry_run=False, boundary=sleep,
        lease_seconds=1,
    )  # fmt: skip
    assert (fake.charges, rows(ledger, attempt)[0]["state"]) == ([], "unknown")
    monkeypatch.undo()
    time.sleep(1)
    run(ledger, fake, 8.5)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


def test_an_event_of_nothing_with_a_name_touches_nobody(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    tell(ledger, None, "balance.available")
    assert inbox.mark(ledger, NOW) == 1
    assert case_of(ledger, "pi_1")["look_after"] is None


def test_slow_looks_keep_no_retry_from_its_turn(ledger: Ledger) -> None:
    class Slow(Troubled):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if path.rpartition("/")[2].startswith("pi_marked"):
                time.sleep(0.3)
            return super().get(path, params)

    fake = Slow()
    marked = [f"pi_marked{number}" for number in range(20)]
    planned(ledger, fake, *marked, "pi_due")
    for name in marked:
        tell(ledger, name)
    with ledger.write() as connection:
        connection.execute(
            recovery_case.update().where(recovery_case.c.debt_id != "pi_due").values(due_at=None)
        )
    fake.now = NOW + timedelta(days=8)
    result = drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=4, owner="t", dry_run=False
    )  # fmt: skip
    assert 0 < result.looked < 20
    assert case_of(ledger, "pi_due")["state"] == "recovered"


def test_an_event_has_an_unknown_outcome_looked_at_now(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    run(ledger, fake, 8)
    for day in (8.001, 8.005, 8.05):
        run(ledger, fake, day)
    # By itself it would not be looked at yet when the event has come.
    assert rows(ledger, attempt)[0]["next_poll_at"] > NOW + timedelta(days=8.051)
    fake.lost = set()
    tell(ledger, "pi_1", "payment_intent.processing")
    run(ledger, fake, 8.051)
    assert case_of(ledger, "pi_1")["state"] == "recovered"


def test_many_events_do_not_use_up_the_looks(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    run(ledger, fake, 8)
    for number in range(14):
        tell(ledger, "cus_pi_1", "customer.updated")
        run(ledger, fake, 8.01 + number / 1000)
    assert case_of(ledger, "pi_1")["state"] == "open"
    fake.lost = set()
    run(ledger, fake, 9.1)
    assert case_of(ledger, "pi_1")["state"] != "needs_human"
    run(ledger, fake, 9.2)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


@pytest.mark.parametrize("text", ["half of a \ud83d", "nothing\0"])
def test_text_that_cannot_be_stored_keeps_no_result_out(ledger: Ledger, text: str) -> None:
    class Wordy(FakeStripe):
        def post(self, path: str, params: Mapping[str, Any], key: str, version: str) -> Answer:
            answer = super().post(path, params, key, version)
            return replace(answer, message=text) if path.endswith("/confirm") else answer

    fake = Wordy()
    planned(ledger, fake, "pi_1")
    fake.passes["pi_1"] = False
    assert run(ledger, fake, 8).declined == 1


class Unsteady(FakeStripe):
    """Every first call is lost, half of them after it has run; later one request in 25 fails. The same in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def fails(self, path: str, share: float) -> bool:
        self.asked[path] += 1
        return crc32(f"{path} {self.asked[path]}".encode()) % 1000 < share * 1000

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        name = f"{path} {(params or {}).get('payment_intent')}"
        return Answer(502) if self.fails(name, 0.04) else super().get(path, params)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        first = path.endswith("/confirm") and self.asked[path] == 0
        lost = self.fails(path, 0.5 if first else 0.04)
        if lost:
            return Answer(None, transport_error="reset")
        answer = super().post(path, params, idempotency_key, api_version)
        return Answer(None, transport_error="reset") if first else answer


def test_unknown_outcomes_are_settled_within_minutes(ledger: Ledger) -> None:
    fake = Unsteady()
    names = [f"pi_{number}" for number in range(60)]
    planned(ledger, fake, *names)
    for minute in (0, 1, 2, 6, 7):
        fake.now = NOW + timedelta(days=8, minutes=minute)
        drain(
            ledger, fake, FixedClock(fake.now), workers=3, max_seconds=20, owner="t", dry_run=False,
            lease_seconds=0.01, limits=Limits(faults=1000),
        )  # fmt: skip
    called = [row for row in rows(ledger, attempt) if row["called_at"]]
    assert len(called) > 45
    assert all(row["poll_count"] for row in called)
    assert {row["state"] for row in called} == {"succeeded"}
    assert max(row["settled_at"] - row["called_at"] for row in called) < timedelta(minutes=15)
    assert {fake.succeeded(row["object_id"]) for row in called} == {1}
