"""Many writers at once, past all code: no rolling window ever holds more than a cap, and the cap is used up."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from tests.fake_stripe import NOW
from tests.ledger.rows import (
    ACCOUNT,
    add,
    add_attempt,
    add_case,
    add_message,
    add_rule,
    add_seen,
    hours,
    move,
)
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.schema import (
    MAILED,
    amount_ceiling,
    attempt,
    message,
    network_attempt,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger

WRITERS = 8
MOST = 3
WINDOW_HOURS = 24


def in_parallel(ledger: Ledger, each: int, act: Callable[[Connection, int, datetime], None]) -> int:
    """Let every writer act `each` times in transactions of its own, in a time that all drive on; how many were refused."""
    numbers, refused = count(), []
    start = threading.Barrier(WRITERS)

    def write(seed: int) -> None:
        dice = random.Random(seed)
        start.wait()
        for _ in range(each):
            number = next(numbers)
            at = NOW + timedelta(minutes=30 * number + dice.randrange(-300, 300))
            try:
                with ledger.engine.begin() as connection:
                    act(connection, number, at)
            except IntegrityError as error:
                assert "tinko: " in str(error.orig), error
                refused.append(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        for future in [pool.submit(write, seed) for seed in range(WRITERS)]:
            future.result()
    return len(refused)


def fullest(moments: list[tuple[datetime, int]], window_hours: float = WINDOW_HOURS) -> int:
    """The greatest weight within any window that ends with one of the moments."""
    return max(
        sum(weight for at, weight in moments if end - hours(window_hours) < at <= end) for end, _ in moments
    )


def counted(ledger: Ledger, kind: str) -> Iterator[tuple[datetime, int]]:
    with ledger.read() as connection:
        if kind != "account":
            seen = select(network_attempt.c.at).where(network_attempt.c.declined)
            yield from ((at, 1) for at in connection.execute(seen).scalars())
        open_ones = attempt.c.state != "declined" if kind != "account" else attempt.c.state != "abandoned"
        rows = connection.execute(select(attempt).where(open_ones)).mappings()
        yield from ((row["called_at"] or row["prepared_at"], 1) for row in rows)


@pytest.mark.parametrize("keyed_by", ["fingerprint", "fingerprint_amount", "customer", "account"])
def test_no_window_ever_holds_more_attempts_than_the_cap(ledger: Ledger, keyed_by: str) -> None:
    with ledger.write() as connection:
        add_rule(connection, keyed_by, MOST, WINDOW_HOURS)

    def act(connection: Connection, number: int, at: datetime) -> None:
        add_attempt(connection, f"c{number}", at, "declined" if number % 2 else "unknown")
        if number % 2:
            add_seen(connection, f"ch_{number}", at)

    each = 40 if ledger.dialect == "postgresql" else 20
    refused = in_parallel(ledger, each, act)
    found = list(counted(ledger, keyed_by))
    assert fullest(found) == MOST
    assert len(found) + refused == WRITERS * each


def test_no_day_ever_holds_more_money_than_the_ceiling(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add(connection, amount_ceiling, account_id=ACCOUNT, currency="usd", max_minor_per_day=3500)

    def act(connection: Connection, number: int, at: datetime) -> None:
        add_attempt(connection, f"c{number}", at, "succeeded", amount_minor=500 + 500 * (number % 2))

    each = 25
    assert 0 < in_parallel(ledger, each, act) < WRITERS * each
    with ledger.read() as connection:
        calls = [(row.called_at, row.amount_minor) for row in connection.execute(select(attempt))]
    assert 3000 <= fullest(calls) <= 3500


def test_no_window_ever_holds_more_mails_than_the_cap(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_rule(connection, "address", MOST, WINDOW_HOURS, network="mail")
        add_case(connection, "c")

    def act(connection: Connection, number: int, at: datetime) -> None:
        identity = add_message(connection, "c", number)
        move(connection, message, identity, "sending", at)

    each = 25
    assert 0 < in_parallel(ledger, each, act) < WRITERS * each
    with ledger.read() as connection:
        claimed = select(message.c.claimed_at).where(message.c.state.in_(MAILED))
        assert fullest([(at, 1) for at in connection.execute(claimed).scalars()]) == MOST


@pytest.mark.parametrize("keyed_by", ["fingerprint", "customer", "account"])
def test_a_second_writer_waits_for_the_first_and_counts_what_it_wrote(ledger: Ledger, keyed_by: str) -> None:
    """By the database alone: the second transaction began before the first one ended."""
    apart: dict[str, dict[str, Any]] = {
        "fingerprint": {"customer_id": "other"},
        "customer": {"card_fingerprint": "other"},
        "account": {"card_fingerprint": "other", "customer_id": "other"},
    }
    with ledger.write() as connection:
        add_rule(connection, keyed_by, 1, WINDOW_HOURS)
    began = threading.Event()

    def second() -> str:
        try:
            with ledger.engine.connect() as connection:
                began.set()
                with connection.begin():
                    add_attempt(connection, "second", NOW, **apart[keyed_by])
        except DatabaseError as error:
            return str(error.orig)
        return "not refused"

    with ThreadPoolExecutor(1) as pool:
        with ledger.engine.begin() as connection:
            add_attempt(connection, "first", NOW)
            waiting = pool.submit(second)
            began.wait()
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert "attempt cap reached" in waiting.result(timeout=20)


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
def test_who_could_not_see_the_others_may_not_count(ledger: Ledger) -> None:
    engine = ledger.engine.execution_options(isolation_level="REPEATABLE READ")
    with pytest.raises(IntegrityError, match="READ COMMITTED"), engine.begin() as connection:
        add_attempt(connection, "c", NOW)
    with pytest.raises(IntegrityError, match="READ COMMITTED"), engine.begin() as connection:
        add_case(connection, "c")
        move(connection, message, add_message(connection, "c", 1), "sending", NOW)


def test_a_limit_that_comes_free_while_it_is_asked_for_refuses_nothing(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        add_rule(connection, "fingerprint", 1, WINDOW_HOURS)
        add_attempt(connection, "other", NOW)
        add_case(connection, "mine", card_fingerprint="card", card_brand="visa", customer_id="cus")
    asked = []

    def given_up(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("WITH new AS") and not asked:
            asked.append(statement)
            if ledger.dialect == "postgresql":
                with ledger.engine.begin() as another:
                    move(another, attempt, "other:1", "abandoned", NOW)

    event.listen(ledger.engine, "after_cursor_execute", given_up)
    with ledger.engine.begin() as connection:
        case = dict(connection.execute(select(recovery_case).filter_by(id="mine")).mappings().one())
        refusal = caps.reached(connection, case, NOW + timedelta(hours=1))
    event.remove(ledger.engine, "after_cursor_execute", given_up)
    assert asked
    # SQLite has one writer, so there nothing can come in between.
    assert (refusal is None) == (ledger.dialect == "postgresql")


def test_an_attempt_that_is_settled_while_it_is_counted_still_counts(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        add_rule(connection, "fingerprint", 1, WINDOW_HOURS)
        add_attempt(connection, "other", NOW, "calling")
        add_case(connection, "mine", card_fingerprint="card", card_brand="visa", customer_id="cus")
    asked = []

    def declined(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT network_attempt.at") and not asked:
            asked.append(statement)
            if ledger.dialect == "postgresql":
                with ledger.engine.begin() as another:
                    move(another, attempt, "other:1", "declined", NOW)
                    add_seen(another, "ch_other", NOW, ours=True)

    event.listen(ledger.engine, "after_cursor_execute", declined)
    with ledger.engine.begin() as connection:
        case = dict(connection.execute(select(recovery_case).filter_by(id="mine")).mappings().one())
        refusal = caps.reached(connection, case, NOW + timedelta(hours=1))
    event.remove(ledger.engine, "after_cursor_execute", declined)
    assert asked
    assert refusal is not None
    assert refusal.free_at == NOW + timedelta(hours=WINDOW_HOURS)
