"""A lease that was taken while the database's clock was far ahead holds nothing for ever."""

from datetime import datetime, timedelta

import pytest
from annotated_types import Le

from tests.fake_stripe import NOW
from tests.ledger.rows import add_attempt, add_case, add_message, move
from tinko_pipelines.ledger import attempts, leases
from tinko_pipelines.ledger.budget import RequestBudget
from tinko_pipelines.ledger.claims import claim_due
from tinko_pipelines.ledger.schema import attempt, message, recovery_case, request_budget
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.outbox import LEASE_SECONDS
from tinko_pipelines.outreach.settling import doubt_lapsed
from tinko_pipelines.retry import janitor
from tinko_pipelines.settings import Settings

BELIEVED = timedelta(seconds=leases.LONGEST_SECONDS - 60)
ABSURD = timedelta(seconds=leases.LONGEST_SECONDS + 60)
AHEAD = [(BELIEVED, False), (ABSURD, True), (timedelta(days=36_500), True)]


def later(ledger: Ledger, ahead: timedelta) -> datetime:
    with ledger.write() as connection:
        return ledger.database_now(connection) + ahead


def test_no_setting_allows_a_lease_that_would_not_be_believed() -> None:
    (most,) = [one.le for one in Settings.model_fields["drain_lease_seconds"].metadata if isinstance(one, Le)]
    assert max(float(str(most)), LEASE_SECONDS) * 2 <= leases.LONGEST_SECONDS


@pytest.mark.parametrize(("ahead", "free"), AHEAD)
def test_a_claim(ledger: Ledger, ahead: timedelta, free: bool) -> None:
    until = later(ledger, ahead)
    with ledger.write() as connection:
        add_case(connection, "c", due_at=NOW, claimed_by="gone", claimed_until=until)
        found = claim_due(
            ledger, connection, account_id="default", livemode=False, now=NOW, owner="me", limit=1, lease_seconds=60,
        )  # fmt: skip
        assert [claim.case_id for claim in found] == (["c"] if free else [])


@pytest.mark.parametrize(("ahead", "free"), AHEAD)
def test_an_attempt(ledger: Ledger, ahead: timedelta, free: bool) -> None:
    until = later(ledger, ahead)
    with ledger.write() as connection:
        add_attempt(connection, "c", NOW, "calling")
        connection.execute(attempt.update().values(lease_until=until, owner="gone"))
    assert janitor.waiting(ledger, NOW, "default", False) == (["c:1"] if free else [])
    with ledger.write() as connection:
        taken = attempts.claim(ledger, connection, "c:1", "me", 60)
        assert (taken is not None) is free
        assert leases.holds(until, ledger.database_now(connection)) is not free


@pytest.mark.parametrize(("ahead", "free"), AHEAD)
def test_a_mail(ledger: Ledger, ahead: timedelta, free: bool) -> None:
    until = later(ledger, ahead)
    with ledger.write() as connection:
        add_case(connection, "c")
        move(connection, message, add_message(connection, "c", 1), "sending", NOW)
        connection.execute(message.update().values(lease_until=until, owner="gone"))
    assert doubt_lapsed(ledger, NOW) == int(free)


@pytest.mark.parametrize(("ahead", "free"), AHEAD)
def test_a_pause_of_all_requests(ledger: Ledger, ahead: timedelta, free: bool) -> None:
    budget = RequestBudget(ledger, "default", 8.0)
    budget.back_off(1.0)
    until = later(ledger, ahead)
    with ledger.write() as connection:
        connection.execute(request_budget.update().values(blocked_until=until))
    assert (budget.acquire(max_wait_seconds=0.0) == 0.0) is free
    if free:
        budget.back_off(5.0)
        assert 0 < RequestBudget(ledger, "default", 8.0).acquire(max_wait_seconds=0.0) <= 5.0


def test_those_that_wait_for_the_same_moment_keep_their_place_in_line(ledger: Ledger) -> None:
    names = ["d", "b", "e", "a", "c"]
    with ledger.write() as connection:
        for minute, name in enumerate(names):
            add_case(connection, name, due_at=NOW, updated_at=NOW - timedelta(minutes=60 - minute))
    found, last = [], None
    for owner in ("one", "two", "three"):
        with ledger.write() as connection:
            part = claim_due(
                ledger, connection, account_id="default", livemode=False, now=NOW, owner=owner, limit=2,
                lease_seconds=60, after=last,
            )  # fmt: skip
        found += [claim.case_id for claim in part]
        last = part[-1]
    assert found == names
    with ledger.read() as connection:
        assert {row.updated_at for row in connection.execute(recovery_case.select())} == {
            NOW - timedelta(minutes=60 - minute) for minute in range(5)
        }
