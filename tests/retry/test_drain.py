"""From enrolment to the end of a case, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.fake_stripe import NOW, FakeStripe, failed_row, failed_table
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.limits import Limits
from tinko_pipelines.ledger.schema import (
    amount_ceiling,
    attempt,
    cap_refusal,
    message,
    recovery_case,
    webhook_event,
)
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import inbox
from tinko_pipelines.retry.drain import DrainResult, drain
from tinko_pipelines.retry.due import anything_due
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy


def rows(ledger: Ledger, table: Any) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def run(ledger: Ledger, fake: FakeStripe, days: float, dry_run: bool = False) -> DrainResult:
    fake.now = NOW + timedelta(days=days)
    clock = FixedClock(fake.now)
    return drain(
        ledger, fake, clock, workers=3, max_seconds=20, owner="t", dry_run=dry_run, lease_seconds=0.01
    )


def test_success_closes_the_case_and_its_mail(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=True)
    table = failed_table(failed_row("pi_1"))
    assert enrol(ledger, table, now=NOW, policy=Policy()).created == 1
    assert enrol(ledger, table, now=NOW, policy=Policy()).unchanged == 1
    assert run(ledger, fake, 8, dry_run=True).due == 1
    assert fake.posts == []
    assert run(ledger, fake, 8).succeeded == 1
    (case,) = rows(ledger, recovery_case)
    assert (case["state"], case["executed_attempts"], case["due_at"]) == ("recovered", 1, None)
    assert {row["state"] for row in rows(ledger, message)} == {"dropped"}
    assert anything_due(ledger, fake.now + timedelta(days=30), "default").counts() == {
        "retries": 0, "janitor": 0, "inbox": 0, "messages": 0,
    }  # fmt: skip


def test_declines_go_on_until_the_plan_is_over(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=False)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    for day in range(40):
        run(ledger, fake, day)
    (case,) = rows(ledger, recovery_case)
    assert case["state"] == "exhausted"
    assert case["executed_attempts"] == case["max_attempts"] == len(fake.charges)


def test_a_lost_answer_is_found_by_reading(ledger: Ledger) -> None:
    for passes in (True, False):
        name = f"pi_{passes}"
        fake = FakeStripe()
        fake.add(name, passes=passes)
        fake.lose_answers = 1
        enrol(ledger, failed_table(failed_row(name)), now=NOW, policy=Policy())
        assert run(ledger, fake, 8).settled == 1
        run(ledger, fake, 8)
        (row,) = [row for row in rows(ledger, attempt) if row["object_id"] == name]
        assert row["state"] == ("succeeded" if passes else "declined")
        assert len(fake.charges) == 1


def test_no_call_after_it_was_paid_behind_our_back(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=True)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    fake.intents["pi_1"]["status"] = "succeeded"
    run(ledger, fake, 8)
    assert fake.posts == []
    assert rows(ledger, recovery_case)[0]["state"] == "paid_elsewhere"


def test_pause_stops_before_anything_is_prepared(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=True)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    assert anything_due(ledger, NOW + timedelta(days=8), "default").retries == 1
    pause(ledger, "default", "incident", "me", NOW)
    run(ledger, fake, 8)
    assert rows(ledger, attempt) == []
    assert sum(anything_due(ledger, NOW + timedelta(days=8), "default").counts().values()) == 0


def test_two_debts_on_one_card_share_its_cap(ledger: Ledger) -> None:
    fake = FakeStripe()
    for name in ("pi_1", "pi_2"):
        fake.add(name, passes=False)
    table = failed_table(*[failed_row(name, card_fingerprint="same") for name in ("pi_1", "pi_2")])
    enrol(ledger, table, now=NOW, policy=Policy())
    run(ledger, fake, 8)
    assert len(fake.charges) == 1
    (refusal,) = rows(ledger, cap_refusal)
    assert refusal["rule"] == "tinko_card_24h"
    assert refusal["free_at"] > fake.now


def test_who_is_not_retried(ledger: Ledger) -> None:
    table = failed_table(
        failed_row("pi_consent", off_session_consent=False),
        failed_row("pi_india", card_country="IN"),
        failed_row("pi_stop", move="stop"),
        failed_row("pi_stripe", next_payment_attempt_at=NOW + timedelta(days=1)),
        failed_row("pi_paid", status="paid"),
    )
    assert enrol(ledger, table, now=NOW, policy=Policy()).skipped == 1
    found = {row["debt_id"]: row for row in rows(ledger, recovery_case)}
    assert {row["max_attempts"] for row in found.values()} == {0}
    assert found["pi_stripe"]["move"] == "wait_stripe"
    assert found["pi_stop"]["state"] == "not_ours"


def test_the_newest_failures_come_first_where_there_are_too_many(ledger: Ledger) -> None:
    table = failed_table(
        failed_row("pi_paid_long_ago", status="paid", last_failed_at=NOW - timedelta(days=60)),
        failed_row("pi_older", last_failed_at=NOW - timedelta(days=5)),
        failed_row("pi_newer"),
    )
    assert enrol(ledger, table, now=NOW, policy=Policy(max_cases=1)).created == 1
    assert [row["debt_id"] for row in rows(ledger, recovery_case)] == ["pi_newer"]


def test_a_try_on_the_same_card_that_only_stripe_knows_counts(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=True)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    card = {"type": "card", "card": {"brand": "visa", "fingerprint": "fp_pi_1"}}
    moment = int((NOW + timedelta(days=7, hours=20)).timestamp())
    fake.charges.append(
        {"id": "ch_elsewhere", "payment_intent": "pi_other", "status": "failed", "created": moment, "amount": 700,
         "currency": "usd", "livemode": False, "payment_method_details": card,
         "outcome": {"network_status": "declined_by_network"}}
    )  # fmt: skip
    assert run(ledger, fake, 8).called == 0
    assert not [path for path in fake.posts if path.endswith("/confirm")]
    assert [row["answer"] for row in rows(ledger, attempt)] == ["cap"]
    (refusal,) = rows(ledger, cap_refusal)
    assert refusal["rule"] == "tinko_card_24h"
    assert rows(ledger, recovery_case)[0]["due_at"] == refusal["free_at"]
    assert run(ledger, fake, 9).succeeded == 1


def test_of_two_debts_on_one_card_the_earlier_goes_first_whatever_the_threads_do(ledger: Ledger) -> None:
    fake = FakeStripe()
    names = [f"pi_{number}" for number in range(6)]
    for name in names:
        fake.add(name, passes=False)
    shared = [failed_row(name, card_fingerprint="fp_shared") for name in names]
    enrol(ledger, failed_table(*shared), now=NOW, policy=Policy())
    first = min(rows(ledger, recovery_case), key=lambda case: (case["due_at"], case["id"]))
    assert run(ledger, fake, 8).called == 1
    assert [path for path in fake.posts if path.endswith("/confirm")] == [
        f"/v1/payment_intents/{first['payment_intent_id']}/confirm"
    ]


def test_an_event_marks_its_case_and_the_ledger_stays_readable(ledger: Ledger) -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=True)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    event = {
        "account_id": "default", "livemode": False, "type": "payment_intent.succeeded",
        "created_at": NOW, "received_at": NOW, "object_id": "pi_1",
    }  # fmt: skip
    with ledger.write() as connection:
        connection.execute(webhook_event.insert(), [{**event, "event_id": name} for name in ("e1", "e2")])
    inbox.mark(ledger, NOW)
    assert [row["look_after"] for row in rows(ledger, recovery_case)] == [NOW]
    fake.intents["pi_1"]["status"] = "succeeded"
    assert run(ledger, fake, 0).looked == 1
    assert [row["state"] for row in rows(ledger, recovery_case)] == ["paid_elsewhere"]


def test_the_ceiling_on_the_amount_puts_off_what_would_exceed_it(ledger: Ledger) -> None:
    fake = FakeStripe()
    for name in ("pi_1", "pi_2"):
        fake.add(name, passes=True)
    policy = Policy(limits=Limits(ceilings_minor=(("usd", 1500),)))
    debts = [failed_row(name, customer_id=f"cus_{name}") for name in ("pi_1", "pi_2")]
    enrol(ledger, failed_table(*debts), now=NOW, policy=policy)
    first = run(ledger, fake, 8)
    assert (first.succeeded, first.refused) == (1, 1)
    (refusal,) = rows(ledger, cap_refusal)
    assert (refusal["rule"], refusal["subject"]) == ("amount_ceiling", "default usd")
    assert run(ledger, fake, 8.9).counts() == DrainResult().counts()
    assert run(ledger, fake, 9).succeeded == 1


def test_the_database_holds_the_caps_when_the_code_forgets_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeStripe()
    for name in ("pi_1", "pi_2"):
        fake.add(name, passes=False)
    enrol(
        ledger,
        failed_table(*[failed_row(name, card_fingerprint="same") for name in ("pi_1", "pi_2")]),
        now=NOW,
        policy=Policy(limits=Limits(ceilings_minor=(("usd", 1500),))),
    )
    monkeypatch.setattr(caps, "reached", lambda *_args, **_names: None)
    run(ledger, fake, 8)
    assert len(fake.charges) == 1
    with ledger.write() as connection:
        connection.execute(update(amount_ceiling).values(max_minor_per_day=500))
    run(ledger, fake, 9.5)
    assert len(fake.charges) == 1
    newest = max(rows(ledger, attempt), key=lambda row: row["prepared_at"])
    assert newest["answer"] == "refused_by_ledger"
