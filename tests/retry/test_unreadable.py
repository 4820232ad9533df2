"""Debts that cannot be read before their call: one alone, and all at once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.fake_stripe import NOW
from tests.retry.test_drain import rows
from tests.retry.test_trouble import Troubled, case_of, planned
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import attempt, control, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.breaker import Limits
from tinko_pipelines.retry.drain import DrainResult, drain
from tinko_pipelines.retry.unreadable import PERSON_AFTER, TOLD_AFTER

FIRST = NOW + timedelta(days=8)
HOUR = timedelta(hours=1)


class Veiled(Troubled):
    """Answers reads of what is in `veiled` with `veil`: a debt by its name, its charges by those of its customer."""

    def __init__(self) -> None:
        super().__init__()
        self.veiled: set[str] = set()
        self.veil = Answer(503, message="try later")

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        named = {path.rpartition("/")[2], (params or {}).get("customer")}
        return self.veil if named & self.veiled or "all" in self.veiled else super().get(path, params)


def work(ledger: Ledger, fake: Veiled, at: datetime) -> DrainResult:
    fake.now = at
    return drain(
        ledger, fake, FixedClock(at), workers=2, max_seconds=20, owner="t", dry_run=False, lease_seconds=0.01,
        limits=Limits(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("veiled", "veil"),
    [
        ("pi_odd", Answer(503, message="try later")),
        ("pi_odd", Answer(None, transport_error="the answer could not be read")),
        ("cus_odd", Answer(404, {"error": {}}, message="no such customer")),
        ("pm_pi_odd", Answer(500, None, message="the answer could not be read")),
    ],
)
def test_one_that_cannot_be_read_is_asked_ever_later_told_and_left_to_a_person(
    ledger: Ledger, veiled: str, veil: Answer
) -> None:
    fake = Veiled()
    planned(ledger, fake, "pi_odd", "pi_good")
    fake.intents["pi_odd"]["customer"] = "cus_odd"
    fake.veiled, fake.veil = {veiled}, veil
    waits, told = [], []
    at = FIRST
    for _ in range(PERSON_AFTER):
        work(ledger, fake, at)
        told.append([(row["kind"], row["case_id"]) for row in anomalies.still_open(ledger)])
        due_at = case_of(ledger, "pi_odd")["due_at"]
        waits.append(due_at and (due_at - at) / HOUR)
        at = due_at
    odd, good = case_of(ledger, "pi_odd"), case_of(ledger, "pi_good")
    assert waits == [0.25, 1, 4, 12, 24, None]
    assert told[: TOLD_AFTER - 1] == [[], []]
    assert told[TOLD_AFTER - 1 :] == [[("stripe_unreadable", odd["id"])]] * (PERSON_AFTER - TOLD_AFTER + 1)
    assert (odd["state"], good["state"]) == ("needs_human", "recovered")
    assert "cannot be read at Stripe, 6 times in a row" in odd["state_reason"]
    assert fake.succeeded("pi_odd") == 0
    assert len([row for row in rows(ledger, attempt) if row["case_id"] == odd["id"]]) == PERSON_AFTER


def test_looks_that_come_through_in_between_begin_the_count_anew(ledger: Ledger) -> None:
    fake = Veiled()
    planned(ledger, fake, "pi_odd", "pi_good")
    at = FIRST
    for number in range(2 * PERSON_AFTER):
        fake.veiled = set() if number % 4 == 3 else {"pi_odd"}
        # Looked at, and not charged: another charge of it is under way.
        pending = {"id": "ch_p", "payment_intent": "pi_odd", "status": "pending", "created": 0}
        fake.charges = [pending, *(row for row in fake.charges if row["id"] != "ch_p")]
        work(ledger, fake, at)
        at = case_of(ledger, "pi_odd")["due_at"]
    assert case_of(ledger, "pi_odd")["state"] == "open"


def test_when_nothing_can_be_read_charging_pauses_and_no_case_goes_to_a_person(ledger: Ledger) -> None:
    fake = Veiled()
    names = [f"pi_{number}" for number in range(40)]
    planned(ledger, fake, *names)
    fake.veiled = {"all"}
    at, paused = FIRST, 0
    for _ in range(72):
        work(ledger, fake, at)
        at += HOUR
        (switch,) = rows(ledger, control)
        paused += not switch["charging_enabled"] and switch["resumes_at"] > at - HOUR
    vain = [row for row in rows(ledger, attempt) if row["answer"] == "unread"]
    assert paused >= 5
    assert max(row["n"] for row in vain) > PERSON_AFTER
    assert len(vain) < 40 * 10
    assert {case["state"] for case in rows(ledger, recovery_case)} == {"open"}
    (told,) = anomalies.still_open(ledger)
    assert (told["kind"], told["subject"], told["case_id"]) == ("stripe_unreadable", "default", None)
    fake.veiled = set()
    for _ in range(30):
        work(ledger, fake, at)
        at += HOUR
    assert {case["state"] for case in rows(ledger, recovery_case)} == {"recovered"}
    assert all(fake.succeeded(name) == 1 for name in names)


def test_that_we_ask_too_often_is_no_fault_of_a_case(ledger: Ledger) -> None:
    fake = Veiled()
    planned(ledger, fake, "pi_odd", "pi_good")
    fake.veiled, fake.veil = {"pi_odd"}, Answer(429, message="our own request budget is used up")
    at = FIRST
    for _ in range(PERSON_AFTER + 4):
        work(ledger, fake, at)
        at += HOUR / 4
    assert case_of(ledger, "pi_odd")["state"] == "open"
    assert anomalies.still_open(ledger) == []
    fake.veiled = set()
    work(ledger, fake, at)
    assert case_of(ledger, "pi_odd")["state"] == "recovered"


def test_what_makes_no_sense_each_time_is_left_to_a_person(ledger: Ledger) -> None:
    fake = Veiled()
    planned(ledger, fake, "pi_odd", "pi_good")
    fake.intents["pi_odd"]["metadata"] = ["not", "a", "mapping"]
    at = FIRST
    for _ in range(PERSON_AFTER):
        assert case_of(ledger, "pi_odd")["state"] == "open"
        work(ledger, fake, at)
        at += 7 * HOUR
    odd = case_of(ledger, "pi_odd")
    assert (odd["state"], case_of(ledger, "pi_good")["state"]) == ("needs_human", "recovered")
    assert odd["state_reason"].startswith("it goes wrong each time: AttributeError")
