"""What happens between one step of a retry and the next: the later step sees it, and nothing is charged twice."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table

from tests.fake_stripe import NOW, FakeStripe
from tests.ledger.rows import add, add_case, attempt_values
from tests.retry.test_drain import rows, run
from tests.retry.test_trouble import Troubled, case_of, planned
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import anomalies, attempts
from tinko_pipelines.ledger.control import pause, resume
from tinko_pipelines.ledger.schema import attempt, cap_refusal, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import janitor
from tinko_pipelines.retry.drain import DrainResult, drain

DUE = NOW + timedelta(days=8)


def run_until(
    ledger: Ledger, fake: FakeStripe, boundary: str, act: Callable[[], None], at: timedelta = timedelta()
) -> DrainResult:
    """Drain, and let something happen the first time `boundary` is come to."""
    done: list[str] = []

    def hook(name: str) -> None:
        if name == boundary and not done:
            done.append(name)
            act()

    fake.now = DUE + at
    result = drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=20, owner="t", dry_run=False, boundary=hook,
        lease_seconds=60,
    )  # fmt: skip
    assert done
    return result


def let_leases_lapse(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(attempt.update().values(lease_until=None))


def change(ledger: Ledger, table: Table, **values: Any) -> None:
    with ledger.write() as connection:
        connection.execute(table.update().values(**values))


@pytest.mark.parametrize("what", ["pause", "change", "take over"])
def test_between_look_and_call(ledger: Ledger, what: str) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    acts: dict[str, Callable[[], None]] = {
        "pause": lambda: pause(ledger, "default", "incident", "me", fake.now),
        "change": lambda: change(ledger, recovery_case, version=recovery_case.c.version + 1),
        "take over": lambda: change(ledger, attempt, fence=attempt.c.fence + 1),
    }
    assert run_until(ledger, fake, "before_begin_call", acts[what]).skipped == 1
    assert fake.charges == []
    (row,) = rows(ledger, attempt)
    answers = {"pause": ("abandoned", "paused"), "change": ("abandoned", "case_changed")}
    assert (row["state"], row["answer"]) == answers.get(what, ("prepared", None))
    resume(ledger, "default", "over", "me", fake.now)
    let_leases_lapse(ledger)
    run(ledger, fake, 8.1)
    run(ledger, fake, 8.2)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


def test_a_card_that_is_forbidden_between_look_and_call_is_left_alone(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    case = case_of(ledger, "pi_1")

    def forbid() -> None:
        ended = {"state": "declined", "answer": "restored", "called_at": NOW, "settled_at": NOW}
        card = {"card_fingerprint": case["card_fingerprint"], "forbids_card": True}
        with ledger.write() as connection:
            add_case(connection, "other")
            add(connection, attempt, **attempt_values("other", NOW, **ended, **card))

    assert run_until(ledger, fake, "before_begin_call", forbid).refused == 1
    assert fake.charges == []
    (refusal,) = rows(ledger, cap_refusal)
    assert (refusal["rule"], refusal["free_at"]) == ("card_forbidden", case["plan_ends_at"])
    assert case_of(ledger, "pi_1")["due_at"] == case["plan_ends_at"]


@pytest.mark.parametrize("what", ["closed", "put off", "used up", "taken"])
def test_between_claim_and_attempt(ledger: Ledger, what: str) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    case = case_of(ledger, "pi_1")

    def take() -> None:
        with ledger.write() as connection:
            attempts.prepare(
                ledger, connection, case, {}, api_version="v", owner="other", at=DUE, lease_seconds=60
            )

    acts: dict[str, Callable[[], None]] = {
        "closed": lambda: change(ledger, recovery_case, state="cancelled", due_at=None),
        "put off": lambda: change(ledger, recovery_case, due_at=DUE + timedelta(hours=1)),
        "used up": lambda: change(ledger, recovery_case, executed_attempts=recovery_case.c.max_attempts),
        "taken": take,
    }
    assert run_until(ledger, fake, "before_prepare", acts[what]).skipped == 1
    assert fake.posts == []
    assert [row["owner"] for row in rows(ledger, attempt)] == (["other"] if what == "taken" else [])
    if what == "used up":
        assert case_of(ledger, "pi_1")["due_at"] == case["plan_ends_at"]


@pytest.mark.parametrize(
    ("passes", "settled_as", "kinds"),
    [
        (True, "succeeded", []),
        (True, "declined", ["success_after_end"]),
        (False, "abandoned", []),
    ],
)
def test_a_late_answer_is_news_only_where_it_contradicts(
    ledger: Ledger, passes: bool, settled_as: str, kinds: list[str]
) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    fake.passes["pi_1"] = passes
    run_until(
        ledger,
        fake,
        "before_settle",
        lambda: change(ledger, attempt, state=settled_as, fence=attempt.c.fence + 1),
    )
    assert [row["state"] for row in rows(ledger, attempt)] == [settled_as]
    assert [found["kind"] for found in anomalies.still_open(ledger)] == kinds


def test_a_late_answer_that_tells_nothing_changes_nothing(ledger: Ledger) -> None:
    fake = Troubled()
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    result = run_until(
        ledger, fake, "before_settle", lambda: change(ledger, attempt, fence=attempt.c.fence + 1)
    )
    assert (result.skipped, result.unknown) == (1, 0)
    assert [(row["state"], row["poll_count"]) for row in rows(ledger, attempt)] == [("calling", 0)]


def test_a_refusal_after_the_case_has_ended_leaves_it_as_it_is(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    fake.passes["pi_1"] = False
    ended = {"state": "cancelled", "due_at": None}
    run_until(ledger, fake, "before_settle", lambda: change(ledger, recovery_case, **ended))
    case = case_of(ledger, "pi_1")
    assert (case["state"], case["due_at"], anomalies.still_open(ledger)) == ("cancelled", None, [])
    assert [row["state"] for row in rows(ledger, attempt)] == ["declined"]


def lost_call(ledger: Ledger, fake: Troubled) -> None:
    """A call that never arrived, with its first look due."""
    planned(ledger, fake, "pi_1")
    fake.lost = {"pi_1"}
    run(ledger, fake, 8)
    fake.lost = set()
    assert [row["state"] for row in rows(ledger, attempt)] == ["unknown"]


@pytest.mark.parametrize("what", ["pause", "owed", "sleep", "take over"])
def test_a_lost_call_is_repeated_only_while_it_would_be_made(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fake = Troubled()
    lost_call(ledger, fake)
    intent = fake.intents["pi_1"]

    def sleep() -> None:
        monkeypatch.setattr(attempts, "LONGEST_PAUSE_SECONDS", 0.1)
        time.sleep(0.3)

    acts: dict[str, Callable[[], None]] = {
        "pause": lambda: pause(ledger, "default", "incident", "me", fake.now),
        "owed": lambda: intent.update(amount=500),
        "sleep": sleep,
        "take over": lambda: change(ledger, attempt, fence=attempt.c.fence + 1),
    }
    run_until(ledger, fake, "janitor_after_get", acts[what], timedelta(hours=1))
    assert fake.charges == []
    assert [row["state"] for row in rows(ledger, attempt)] == ["unknown"]
    resume(ledger, "default", "over", "me", fake.now)
    monkeypatch.undo()
    intent["amount"] = 1000
    let_leases_lapse(ledger)
    run(ledger, fake, 8.5)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


def resolve(ledger: Ledger, fake: FakeStripe) -> str:
    (row,) = rows(ledger, attempt)
    return janitor.resolve(ledger, fake, row["id"], FixedClock(fake.now), "late", 60, lambda _name: None)


def test_who_comes_late_to_an_open_outcome_asks_nothing(ledger: Ledger) -> None:
    fake = Troubled()
    lost_call(ledger, fake)
    change(ledger, attempt, next_poll_at=fake.now + timedelta(hours=1))
    fake.looked_at.clear()
    let_leases_lapse(ledger)
    assert (resolve(ledger, fake), fake.looked_at) == ("skipped", [])
    assert rows(ledger, attempt)[0]["lease_until"] is None
    with ledger.write() as connection:
        assert attempts.claim(ledger, connection, rows(ledger, attempt)[0]["id"], "other", 60)
    assert (resolve(ledger, fake), fake.looked_at) == ("skipped", [])
    assert rows(ledger, attempt)[0]["owner"] == "other"


def test_a_debt_that_is_gone_after_its_call_is_a_persons_business(ledger: Ledger) -> None:
    fake = Troubled()
    lost_call(ledger, fake)
    del fake.intents["pi_1"]
    run(ledger, fake, 8.1)
    assert [(row["state"], row["answer"]) for row in rows(ledger, attempt)] == [("abandoned", "gone")]
    assert case_of(ledger, "pi_1")["state"] == "needs_human"


class Waiting(Troubled):
    """Answers a call as told, and shows the intent so from then on."""

    def __init__(self, status: str) -> None:
        super().__init__()
        self.status = status
        self.unreadable = False

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return Answer(500) if self.unreadable else super().get(path, params)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        if not path.endswith("/confirm"):
            return super().post(path, params, idempotency_key, api_version)
        intent = self.intents[path.split("/")[3]]
        intent["status"] = self.status
        return Answer(200, dict(intent))


@pytest.mark.parametrize("status", ["processing", "requires_action"])
def test_what_takes_days_is_waited_for_even_while_it_cannot_be_read(ledger: Ledger, status: str) -> None:
    fake = Waiting(status)
    planned(ledger, fake, "pi_1")
    assert getattr(run(ledger, fake, 8), status) == 1
    for day in (8.2, 8.6, 9.7):
        fake.unreadable = day == 8.6
        run(ledger, fake, day)
        (row,) = rows(ledger, attempt)
        assert (row["state"], case_of(ledger, "pi_1")["state"]) == (status, "open")
    charge = {"id": "ch_1", "payment_intent": "pi_1", "status": "succeeded", "created": DUE.timestamp()}
    fake.charges.append(charge)
    fake.intents["pi_1"]["status"] = "succeeded"
    run(ledger, fake, 11)
    assert (case_of(ledger, "pi_1")["state"], rows(ledger, attempt)[0]["charge_id"]) == ("recovered", "ch_1")


def test_what_the_customer_never_did_is_given_up_after_three_days(ledger: Ledger) -> None:
    fake = Waiting("requires_action")
    planned(ledger, fake, "pi_1")
    for day in (8, 10.9, 11.1, 12):
        run(ledger, fake, day)
        state = rows(ledger, attempt)[0]["state"]
        assert state == ("requires_action" if day < 11 else "abandoned")
    assert (rows(ledger, attempt)[0]["answer"], case_of(ledger, "pi_1")["state"]) == (
        "action_never_taken",
        "needs_human",
    )


def test_unsettled_attempts_there_is_no_time_for_are_the_next_drains(ledger: Ledger) -> None:
    class Slow(Troubled):
        slow = False

        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if self.slow:
                time.sleep(0.1)
            return super().get(path, params)

    fake = Slow()
    names = [f"pi_{number}" for number in range(8)]
    planned(ledger, fake, *names)
    fake.lost = set(names)
    run(ledger, fake, 8)
    fake.lost, fake.slow, fake.now = set(), True, DUE + timedelta(hours=1)
    let_leases_lapse(ledger)
    short = drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=1, owner="t", dry_run=False,
        lease_seconds=0.01,
    )  # fmt: skip
    assert 0 < short.settled < 8
    fake.slow = False
    run(ledger, fake, 8.2)
    assert {case["state"] for case in rows(ledger, recovery_case)} == {"recovered"}
    assert [fake.succeeded(name) for name in names] == [1] * 8


def charge_of(intent: str, status: str) -> dict[str, Any]:
    created = int((DUE - timedelta(hours=1)).timestamp())
    charge = {"id": "ch_seen", "payment_intent": intent, "status": status, "created": created}
    return {**charge, "amount": 1000, "currency": "usd"}


@pytest.mark.parametrize(
    ("intent", "status", "state"),
    [("pi_1", "succeeded", "needs_human"), ("pi_other", "pending", "open"), ("pi_1", "pending", "open")],
)
def test_a_charge_seen_before_the_call_holds_it_back(
    ledger: Ledger, intent: str, status: str, state: str
) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    fake.charges.append(charge_of(intent, status))
    run(ledger, fake, 8)
    assert [path for path in fake.posts if path.endswith("/confirm")] == []
    case = case_of(ledger, "pi_1")
    assert case["state"] == state
    if state == "open":
        assert case["due_at"] >= fake.now + timedelta(hours=6)


class Blind(FakeStripe):
    """Answers with `status` whatever is read below `path`."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__()
        self.path, self.status = path, status

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return Answer(self.status) if path.startswith(self.path) else super().get(path, params)


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [("/v1/charges", 500, "unread"), ("/v1/payment_methods", 500, "unread"),
     ("/v1/payment_methods", 404, "refused")],
)  # fmt: skip
@pytest.mark.parametrize("customer", ["cus_1", None])
def test_no_call_by_what_could_not_be_read(
    ledger: Ledger, path: str, status: int, answer: str, customer: str | None
) -> None:
    fake = Blind(path, status)
    planned(ledger, fake, "pi_1")
    fake.intents["pi_1"]["customer"] = customer
    run(ledger, fake, 8)
    if customer is None and path == "/v1/payment_methods":
        # Nobody's method: there is none to be taken away, so it is not asked for.
        assert fake.succeeded("pi_1") == 1
        return
    assert fake.charges == []
    assert [(row["state"], row["answer"]) for row in rows(ledger, attempt)] == [("abandoned", answer)]
    fake.path = "/nothing"
    for day in (9, 12, 16):
        run(ledger, fake, day)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)
