"""Unknown outcomes: what each answer leads to, how often Stripe is asked, and who takes over in the end."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.retry.shop import Shop, passing_later
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.schema import attempt, message, recovery_case
from tinko_pipelines.retry.drain import DrainResult, drain
from tinko_pipelines.retry.looks import REPOST_HOURS


def unknown(
    shop: Shop, name: str, fault: dict[str, Any], *, passes: bool = True
) -> tuple[dict[str, Any], Any]:
    """A debt whose call meets `fault`, and every look after it a server error; with what was asked so far."""
    codes = passing_later(shop) if passes else [[0, "insufficient_funds"]]
    made = shop.stripe.fixture("failed_invoice", codes=codes, email=f"{name}@example.com")
    shop.refresh()
    shop.until_due(made["invoice"])
    watched = shop.watch()

    def trouble(boundary: str) -> None:
        if boundary == "before_http":
            unseen = {"kind": "error_before", "method": "GET", "path": f"*/{made['invoice']}"}
            shop.stripe.faults([{"path": f"*/{made['invoice']}/pay", "count": 1, **fault}, unseen])

    shop.app.drain(owner="test", boundary=trouble)
    assert [row["state"] for row in shop.attempts(made["invoice"])] == ["unknown"]
    return made, watched


def row_of(shop: Shop, debt: str) -> dict[str, Any]:
    return shop.attempts(debt)[0]


def set_next_poll(shop: Shop, debt: str, moment: datetime) -> None:
    with shop.app.ledger.write() as connection:
        chosen = select(recovery_case.c.id).where(recovery_case.c.debt_id == debt).scalar_subquery()
        connection.execute(attempt.update().where(attempt.c.case_id == chosen).values(next_poll_at=moment))


@pytest.mark.parametrize(
    ("kind", "calls"),
    [("rate_limit", 2), ("error_before", 2), ("reset_before", 2), ("error_after", 1), ("reset_after", 1)],
)
def test_a_call_is_repeated_under_its_own_key_and_only_where_nothing_ran(
    shared_shop: Shop, kind: str, calls: int
) -> None:
    shop = shared_shop
    made, watched = unknown(shop, kind, {"kind": kind})
    shop.stripe.faults([])
    shop.advance(timedelta(minutes=6))
    shop.app.drain(owner="test")
    assert shop.case(made["invoice"])["state"] == "recovered"
    assert len(watched.keys) == calls
    assert set(watched.keys) == {row_of(shop, made["invoice"])["idempotency_key"]}
    assert [charge["status"] for charge in shop.stripe.charges_of(made["invoice"])] == ["failed", "succeeded"]


def test_as_long_as_stripe_asks_for_nothing_is_sent(shop: Shop) -> None:
    made, watched = unknown(shop, "limited", {"kind": "rate_limit"})
    set_next_poll(shop, made["invoice"], shop.stripe.now())
    shop.stripe.faults([{"kind": "rate_limit", "path": "*/pay", "count": 1}])
    shop.app.drain(owner="test")
    row = row_of(shop, made["invoice"])
    assert (row["answer"], len(watched.keys)) == ("rate_limited", 2)
    assert row["next_poll_at"] >= shop.stripe.now() + timedelta(seconds=1)


@pytest.mark.parametrize(("seconds", "called_again"), [(-1, True), (0, False), (1, False)])
def test_after_twenty_hours_the_key_is_used_no_more(
    shared_shop: Shop, seconds: int, called_again: bool
) -> None:
    shop = shared_shop
    made, watched = unknown(shop, f"edge{seconds}", {"kind": "reset_before"})
    edge = row_of(shop, made["invoice"])["called_at"] + timedelta(hours=REPOST_HOURS)
    moment = shop.stripe.advance_to(edge + timedelta(seconds=seconds))
    assert (moment - edge).total_seconds() == seconds
    set_next_poll(shop, made["invoice"], moment)
    shop.stripe.faults([])
    shop.app.drain(owner="test")
    key = row_of(shop, made["invoice"])["idempotency_key"]
    assert watched.keys.count(key) == 1 + called_again
    answers = [(row["state"], row["answer"]) for row in shop.attempts(made["invoice"])]
    succeeded = ("succeeded", "succeeded")
    assert answers == ([succeeded] if called_again else [("abandoned", "no_trace"), succeeded])


@pytest.mark.parametrize(
    ("fault", "passes", "state", "attempt_state"),
    [
        ("reset_after", True, "recovered", "succeeded"),
        ("reset_after", False, "open", "declined"),
        ("reset_before", True, "recovered", "abandoned"),
    ],
)
def test_what_cannot_be_read_goes_to_a_person_and_comes_back_once_it_can(
    shared_shop: Shop, fault: str, passes: bool, state: str, attempt_state: str
) -> None:
    shop = shared_shop
    name = f"{fault}{passes}"
    made, watched = unknown(shop, name, {"kind": fault}, passes=passes)
    debt, ages, told = made["invoice"], [], None
    called_at = row_of(shop, debt)["called_at"]
    for _ in range(100):
        moment = row_of(shop, debt)["next_poll_at"]
        if moment is None:
            break
        # The sandbox's clock knows whole seconds only.
        shop.stripe.advance_to(
            max(moment + timedelta(microseconds=-moment.microsecond % 1_000_000), shop.stripe.now())
        )
        shop.app.drain(owner="test")
        ages.append((moment - called_at).total_seconds() / 3600)
        if told is None and shop.case(debt)["state"] == "needs_human":
            told = ages[-1]
            assert "unknown a day after the call" in shop.case(debt)["state_reason"]
    assert sum(age <= 0.25 for age in ages) >= 4
    assert [age for age in ages if age >= 20] == [
        20,
        21,
        22,
        23,
        23.75,
        *(47.75, 71.75, 95.75, 119.75, 143.75),
    ]
    assert told == 23.75
    asked = [path for _, path in watched.asked if debt in path]
    shop.advance(timedelta(days=2))
    shop.app.drain(owner="test")
    assert [path for _, path in watched.asked if debt in path] == asked
    shop.stripe.faults([])
    set_next_poll(shop, debt, shop.stripe.now())
    shop.app.drain(owner="test")
    case = shop.case(debt)
    assert (case["state"], shop.attempts(debt)[0]["state"]) == (state, attempt_state)
    if state == "open":
        assert case["due_at"] is not None
        mails = [row for row in shop.rows(message) if row["case_id"] == case["id"]]
        ahead = {row["state"] for row in mails if row["due_at"] > shop.stripe.now()}
        assert ahead <= {"scheduled"}


def test_what_became_of_a_call_that_was_cut_off_is_found_out_while_charging_is_paused(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop), email="ada@example.com")
    shop.refresh()
    shop.until_due(made["invoice"])
    app = shop.app

    class Died(BaseException):
        """The process is gone."""

    def die(name: str) -> None:
        if name == "after_http":
            raise Died

    def work(owner: str, boundary: Callable[[str], None] | None = None) -> DrainResult:
        gateway = app.account().gateway
        return drain(app.ledger, gateway, app.clock, max_seconds=20, workers=1, owner=owner, dry_run=False,
                     boundary=boundary, lease_seconds=0.5)  # fmt: skip

    with pytest.raises(Died):
        work("dead", die)
    assert row_of(shop, made["invoice"])["state"] == "calling"
    pause(app.ledger, "global", "a look at the numbers", "ada", app.clock.now())
    time.sleep(0.7)
    assert work("next").settled == 1
    assert row_of(shop, made["invoice"])["state"] == "succeeded"
    assert shop.case(made["invoice"])["state"] == "recovered"


def test_a_case_is_not_closed_while_a_call_may_still_run(shop: Shop) -> None:
    made, watched = unknown(shop, "fence", {"kind": "reset_before"})
    shop.stripe.faults([])
    uncollectible = {"status": "uncollectible"}
    shop.stripe.fixture("amend", object="invoices", id=made["invoice"], fields=uncollectible)
    shop.advance(timedelta(minutes=10))
    shop.app.drain(owner="test")
    assert (shop.case(made["invoice"])["state"], row_of(shop, made["invoice"])["state"]) == (
        "open",
        "unknown",
    )
    shop.advance(timedelta(hours=REPOST_HOURS))
    shop.app.drain(owner="test")
    assert shop.case(made["invoice"])["state"] == "cancelled"
    assert (row_of(shop, made["invoice"])["state"], len(watched.keys)) == ("abandoned", 1)


def test_a_charge_that_still_bears_the_name_of_an_earlier_attempt_is_its_own(shop: Shop) -> None:
    codes = [[0, "insufficient_funds"], [shop.at(3.4), None]]
    made = shop.stripe.fixture("failed_intent", codes=codes, email="named@example.com")
    shop.refresh()
    debt = made["payment_intent"]
    shop.until_due(debt)
    shop.app.drain(owner="test")
    assert [row["state"] for row in shop.attempts(debt)] == ["declined"]
    shop.stripe.advance_to(shop.case(debt)["due_at"] + timedelta(minutes=1))
    shop.stripe.faults(
        [
            {"kind": "error_before", "method": "POST", "path": f"*/payment_intents/{debt}", "count": 1},
            {"kind": "reset_after", "method": "POST", "path": f"*/{debt}/confirm", "count": 1},
        ]
    )
    shop.app.drain(owner="test")
    shop.advance(timedelta(minutes=6))
    shop.app.drain(owner="test")
    first, second = shop.attempts(debt)
    charge = shop.stripe.charges_of(debt)[-1]
    assert (charge["status"], charge["metadata"]["tinko_attempt"]) == ("succeeded", first["id"])
    assert (second["state"], second["charge_id"]) == ("succeeded", charge["id"])
    assert shop.case(debt)["state"] == "recovered"
