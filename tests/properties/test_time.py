"""Clocks that change, disagree or stand at an edge. Nothing is planned by local time: a day is 24 hours, a morning UTC's."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from tests.properties.process import Process
from tests.properties.simulation import LEASE_SECONDS, Simulation
from tinko_pipelines.ledger import attempts, caps, claims
from tinko_pipelines.ledger.schema import attempt, cap_refusal, network_attempt, recovery_case
from tinko_pipelines.retry.policy import LADDER_DAYS, Policy

ZONES = (
    # Half-hour summer time, the southern hemisphere, two zones without any, and one that changes for Ramadan.
    "America/New_York", "America/Los_Angeles", "America/Sao_Paulo", "America/Santiago", "Europe/Berlin",
    "Europe/London", "Africa/Casablanca", "Africa/Cairo", "Asia/Kolkata", "Australia/Lord_Howe",
    "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def changes(name: str) -> list[datetime]:
    """The moments of 2026 and 2027 at which the zone's clocks are set; without any, two midnights."""
    zone, found = ZoneInfo(name), []
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment.year < 2028:
        if moment.astimezone(zone).utcoffset() != (moment + HOUR).astimezone(zone).utcoffset():
            found.append(moment + HOUR)
        moment += HOUR
    return found or [datetime(2026, 3, 29, tzinfo=zone), datetime(2027, 10, 31, tzinfo=zone)]


def in_debt(sim: Simulation, codes: tuple[str | None, ...] = ("do_not_honor",)) -> dict[str, Any]:
    """One planned case whose next retry is due."""
    customer = sim.customer([(day * 4, code) for day, code in enumerate(codes)], "visa")
    sim.owe(customer, "intent", 2500, "order-1")
    sim.plan()
    (case,) = sim.rows(recovery_case)
    sim.pass_time(case["due_at"] - sim.times.database)
    return case


def at_zone(connection: Connection, zone: str) -> None:
    """Let the database think in that zone, as its server may be set up to."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))


@pytest.mark.parametrize("window", [24, 720])
def test_a_caps_window_has_its_hours_on_every_day_of_every_zone(sim: Simulation, window: int) -> None:
    """One refusal uses the card up (24 h: one; 30 days: eight) until the very second, whoever set his clock."""
    case = in_debt(sim)
    most = {24: 1, 720: 8}[window]
    for zone in ZONES:
        for number, change in enumerate(changes(zone)):
            for back in (HOUR, timedelta(hours=window) - HOUR):
                card = f"{zone}{number}{back}"
                first = (change - back).astimezone(UTC)
                asked = {**case, "card_fingerprint": card, "customer_id": card}
                over = first + timedelta(hours=window)
                with sim.ledger.write() as connection:
                    at_zone(connection, zone)
                    for count in range(most):
                        at = (first + count * SECOND).astimezone(ZoneInfo(zone))
                        connection.execute(
                            network_attempt.insert().values(
                                charge_id=f"{card} {count}", account_id="default", livemode=False,
                                card_fingerprint=card, card_brand="visa", customer_id=card, amount_minor=2500,
                                currency="usd", at=at, declined=True, ours=False,
                            )
                        )  # fmt: skip
                    refused = caps.reached(connection, asked, over - SECOND)
                    assert refused is not None, (zone, change)
                    assert refused.free_at >= over, (zone, change)
                    free = caps.reached(connection, asked, over + DAY)
                    assert free is None, (zone, change, free)
                    if window == 24:
                        assert refused.free_at == over
                        assert caps.reached(connection, asked, over) is None
                        hold_at_the_database(sim, connection, asked, over)


def hold_at_the_database(
    sim: Simulation, connection: Connection, case: dict[str, Any], over: datetime
) -> None:
    """The trigger draws the line where the code does."""
    for moment, refused in ((over - SECOND, True), (over, False)):
        inner = connection.begin_nested()
        try:
            prepare(sim, connection, case, moment)
            assert not refused, moment
        except IntegrityError:
            assert refused, moment
        inner.rollback()


def prepare(sim: Simulation, connection: Connection, case: dict[str, Any], at: datetime) -> dict[str, Any]:
    return attempts.prepare(
        sim.ledger, connection, case, {}, api_version="v", owner="me", at=at, lease_seconds=LEASE_SECONDS
    )


MAILS = (
    ("card_expired", "customer", (0, 3, 7, 14), "plan"),
    ("insufficient_funds", "wait_stripe", (3, 8, 14), "failure"),
    ("insufficient_funds", "retry", (3, 8, 14), "failure"),
)


@pytest.mark.parametrize("zone", ZONES)
def test_plans_keep_their_distances_on_the_days_the_clocks_are_set(zone: str) -> None:
    policy = Policy()
    for change in changes(zone):
        for failed in (change.astimezone(UTC) - back for back in (DAY, HOUR, 0 * HOUR)):
            now = failed + 2 * HOUR
            for category in LADDER_DAYS:
                times = [rung.at for rung in policy.rungs("case", category, failed, now, None)]
                assert all(8 <= moment.hour < 11 for moment in times)
                assert all(late - early >= 25 * HOUR for early, late in pairwise(times))
                assert times[0] >= failed + 24.5 * HOUR
            for category, move, days, start in MAILS:
                row = {"category": category, "account_id": "a", "currency": "eur", "amount_minor": 1}
                sequence = policy.sequences.of(row, move)
                assert sequence is not None
                counted = now if start == "plan" else failed
                assert [moment - counted for moment in sequence.times(failed, now)] == [n * DAY for n in days]


@settings(derandomize=True, database=None, deadline=None)
@given(
    failed_hours=st.integers(0, 120 * 24),
    category=st.sampled_from([*sorted(LADDER_DAYS), "something_else"]),
    late_hours=st.integers(0, 900),
)
def test_a_leap_year_spoils_no_plan(failed_hours: int, category: str, late_hours: int) -> None:
    failed = datetime(2027, 12, 1, tzinfo=UTC) + timedelta(hours=failed_hours)
    now = failed + timedelta(hours=late_hours)
    times = [rung.at for rung in Policy().rungs("case", category, failed, now, None)]
    assert times == sorted(times)
    assert times[0] > now
    assert times[0] >= failed + 24.5 * HOUR
    assert times[-1] <= now + timedelta(days=40)


@pytest.mark.parametrize("ahead_hours", [-1, 0, 1])
def test_leases_follow_the_databases_clock_alone(sim: Simulation, ahead_hours: int) -> None:
    case = in_debt(sim)
    now = sim.times.database
    sim.times.business = now + ahead_hours * HOUR

    def claim(owner: str) -> list[claims.Claim]:
        with sim.ledger.write() as connection:
            return claims.claim_due(
                sim.ledger, connection, account_id="default", livemode=False, now=case["due_at"] + HOUR,
                owner=owner, limit=5, lease_seconds=LEASE_SECONDS,
            )  # fmt: skip

    assert len(claim("one")) == 1
    sim.times.database = now + timedelta(seconds=LEASE_SECONDS) - SECOND
    assert claim("two") == []
    sim.times.database += SECOND
    assert len(claim("two")) == 1
    with sim.ledger.write() as connection:
        row = prepare(sim, connection, case, sim.times.business)
    for passed, taken in ((LEASE_SECONDS - 1, False), (LEASE_SECONDS, True)):
        sim.times.database = row["lease_until"] - timedelta(seconds=LEASE_SECONDS) + timedelta(seconds=passed)
        with sim.ledger.write() as connection:
            got = attempts.claim(sim.ledger, connection, row["id"], "two", LEASE_SECONDS)
        assert (got is not None) is taken


def test_a_workers_clock_set_back_during_a_call_changes_nothing(sim: Simulation) -> None:
    in_debt(sim, ("do_not_honor", None))
    sim.pass_time(4 * DAY)
    worker = Process(sleeps_at="after_http")
    worker.start(lambda: sim.run(worker, ledger=1))
    sim.times.business -= timedelta(minutes=10)
    sim.run(Process(), owner="two")
    assert len(sim.rows(attempt)) == 1
    sim.times.database += timedelta(seconds=LEASE_SECONDS)
    sim.run(Process(), owner="two")
    assert worker.wake() is None
    (row,) = sim.rows(attempt)
    (case,) = sim.rows(recovery_case)
    assert (row["state"], case["state"], case["executed_attempts"]) == ("succeeded", "recovered", 1)
    assert sum(charge["status"] == "succeeded" for charge in sim.stripe.all("charges")) == 1


@pytest.mark.parametrize(("seconds", "repeated"), [(-1, True), (0, False), (1, False)])
def test_a_key_is_used_again_for_twenty_hours_and_not_a_second_longer(
    sim: Simulation, seconds: int, repeated: bool
) -> None:
    in_debt(sim)
    worker = Process(sleeps_at="before_http")
    worker.start(lambda: sim.run(worker, owner="one"))
    worker.wake(kill=True)
    (row,) = sim.rows(attempt)
    assert row["state"] == "calling"
    moment = row["called_at"] + timedelta(hours=20, seconds=seconds)
    sim.pass_time(moment - sim.times.business)
    sim.run(Process(), owner="two")
    assert (sim.stripe.book.store.answer(row["idempotency_key"]) is not None) is repeated
    made = sorted(sim.rows(attempt), key=lambda one: one["n"])
    assert [one["state"] for one in made] == (["declined"] if repeated else ["abandoned", "declined"])


@pytest.mark.parametrize(("seconds", "state"), [(-1, "open"), (0, "exhausted"), (1, "exhausted")])
def test_a_plan_ends_at_its_second(sim: Simulation, seconds: int, state: str) -> None:
    case = in_debt(sim)
    sim.pass_time(case["plan_ends_at"] + seconds * SECOND - sim.times.business)
    sim.run(Process())
    (after,) = sim.rows(recovery_case)
    assert after["state"] == state
    assert bool(sim.rows(attempt)) is (state == "open")


def test_a_cap_that_is_free_after_the_plan_ends_it_there(sim: Simulation) -> None:
    case = in_debt(sim)
    sim.pass_time(case["plan_ends_at"] - HOUR - sim.times.business)
    with sim.ledger.write() as connection:
        connection.execute(
            network_attempt.insert().values(
                charge_id="ch_other", account_id="default", livemode=False, amount_minor=1, currency="usd",
                card_fingerprint=case["card_fingerprint"], card_brand="visa", customer_id=case["customer_id"],
                at=sim.times.business - HOUR, declined=True, ours=False,
            )
        )  # fmt: skip
    sim.run(Process())
    assert [row["rule"] for row in sim.rows(cap_refusal)] == ["tinko_card_24h"]
    assert sim.rows(recovery_case)[0]["due_at"] == case["plan_ends_at"]
    sim.pass_time(HOUR)
    sim.run(Process())
    assert sim.rows(recovery_case)[0]["state"] == "exhausted"
