"""Claims on due cases: each to one worker, in the order they are due, until the lease lapses."""

import threading
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from tinko_pipelines.ledger.claims import Claim, claim_due, release
from tinko_pipelines.ledger.schema import attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def fill(ledger: Ledger, cases: int, **different: object) -> list[str]:
    names = [f"case-{number:04d}" for number in range(cases)]
    with ledger.write() as connection:
        for number, name in enumerate(names):
            row = {
                "id": name,
                "account_id": "acct_1",
                "livemode": False,
                "debt_kind": "invoice",
                "debt_id": f"in_{name}",
                "live_object_id": f"in_{name}",
                "amount_minor": 1900,
                "currency": "usd",
                "state": "open",
                "plan": "{}",
                "first_failed_at": NOW,
                "plan_ends_at": NOW + timedelta(days=30),
                "due_at": NOW - timedelta(hours=cases - number),
                "max_attempts": 4,
                "created_at": NOW,
                "updated_at": NOW,
            }
            connection.execute(recovery_case.insert().values(**(row | different)))
    return names


def claim(
    ledger: Ledger, owner: str, limit: int, lease_seconds: float = 60.0, after: Claim | None = None
) -> list[Claim]:
    with ledger.write() as connection:
        return claim_due(
            ledger,
            connection,
            account_id="acct_1",
            livemode=False,
            now=NOW,
            owner=owner,
            limit=limit,
            lease_seconds=lease_seconds,
            after=after,
        )


def names_of(claims: list[Claim]) -> list[str]:
    return [one.case_id for one in claims]


def test_longest_due_first_and_none_twice(ledger: Ledger) -> None:
    names = fill(ledger, 7)
    first = claim(ledger, "a", 3)
    assert names_of(first) == names[:3]
    assert names_of(claim(ledger, "b", 3)) == names[3:6]
    assert names_of(claim(ledger, "a", 3, after=first[-1])) == names[6:]
    assert claim(ledger, "b", 3) == []


def test_a_lapsed_claim_is_free_again(ledger: Ledger) -> None:
    names = fill(ledger, 1)
    claim(ledger, "a", 1, lease_seconds=0.2)
    assert claim(ledger, "b", 1) == []
    time.sleep(0.25)
    assert names_of(claim(ledger, "b", 1)) == names


def test_only_the_owner_gives_back(ledger: Ledger) -> None:
    names = fill(ledger, 2)
    claim(ledger, "a", 2)
    with ledger.write() as connection:
        release(connection, names, "b")
    assert claim(ledger, "c", 2) == []
    with ledger.write() as connection:
        release(connection, names[:1], "a")
    assert names_of(claim(ledger, "c", 2)) == names[:1]


def test_what_is_not_due_not_open_not_ours_or_blocked_is_left(ledger: Ledger) -> None:
    blocked, future, closed, other, live, free = fill(ledger, 6)
    changes: dict[str, dict[str, object]] = {
        future: {"due_at": NOW + timedelta(seconds=1)},
        closed: {"state": "cancelled", "due_at": None},
        other: {"account_id": "acct_2"},
        live: {"livemode": True},
    }
    with ledger.write() as connection:
        for name, values in changes.items():
            connection.execute(recovery_case.update().where(recovery_case.c.id == name).values(**values))
        connection.execute(
            attempt.insert().values(
                id="a1",
                case_id=blocked,
                n=1,
                idempotency_key="k1",
                account_id="acct_1",
                livemode=False,
                amount_minor=1900,
                currency="usd",
                operation="invoice.pay",
                object_id="in_1",
                params="{}",
                params_sha256="x",
                api_version="v",
                state="prepared",
                fence=1,
                prepared_at=NOW,
            )
        )
    assert names_of(claim(ledger, "a", 10)) == [free]


def test_claims_at_the_same_time_share_the_work_out(ledger: Ledger) -> None:
    names = fill(ledger, 120)
    taken: list[str] = []
    start = threading.Barrier(4)

    def work(owner: str) -> None:
        start.wait()
        while found := claim(ledger, owner, 5):
            taken.extend(names_of(found))

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A row another transaction has locked is passed over, so a round may end early: nothing is lost by that.
    while found := claim(ledger, "last", 50):
        taken.extend(names_of(found))
    assert sorted(taken) == names
    with ledger.read() as connection:
        assert (
            connection.execute(
                select(recovery_case.c.claimed_by).where(recovery_case.c.claimed_by.is_(None))
            ).all()
            == []
        )
