"""Transactions that PostgreSQL gives up, or refuses, for another's sake: repeated, and at worst the case waits; no drain ends by it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from tests.fake_stripe import FakeStripe
from tests.ledger.rows import add_seen
from tests.retry.test_drain import rows, run
from tests.retry.test_meanwhile import DUE, let_leases_lapse, run_until
from tests.retry.test_trouble import case_of, planned
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.ledger.schema import attempt, cap_refusal, recovery_case
from tinko_pipelines.ledger.store import Ledger, repeated
from tinko_pipelines.retry.drain import drain

FOR_EVER = 10**6
pytestmark = pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)


@contextmanager
def colliding(ledger: Ledger, deed: str, table: str, code: str, times: int) -> Iterator[None]:
    """So many times the database gives up whoever does `deed` on `table`; a sequence counts past every rollback."""
    body = f"IF nextval('collisions') <= {times} THEN RAISE EXCEPTION 'collision' USING ERRCODE = '{code}'; END IF;"
    with ledger.write() as connection:
        connection.execute(text("CREATE SEQUENCE collisions"))
        connection.execute(text(f"CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}"
                                f" RETURN NEW; END $$".replace(":", "\\:")))  # fmt: skip
        connection.execute(
            text(f"CREATE TRIGGER a_collide BEFORE {deed} ON {table} FOR EACH ROW EXECUTE FUNCTION collide()")
        )
    yield
    with ledger.write() as connection:
        connection.execute(text("DROP FUNCTION collide() CASCADE"))
        connection.execute(text("DROP SEQUENCE collisions"))


@pytest.mark.parametrize("code", ["40P01", "40001"])
@pytest.mark.parametrize(("deed", "table", "times"), [
    ("INSERT", "attempt", 2), ("UPDATE", "attempt", 2), ("INSERT", "network_attempt", 2),
    ("UPDATE", "recovery_case", 2), ("INSERT", "attempt", FOR_EVER), ("UPDATE", "attempt", FOR_EVER),
    ("INSERT", "network_attempt", FOR_EVER),
])  # fmt: skip
def test_no_collision_ends_a_drain_or_charges_twice(
    ledger: Ledger, deed: str, table: str, code: str, times: int
) -> None:
    fake = FakeStripe()
    fake.many = True
    planned(ledger, fake, "pi_1")
    with colliding(ledger, deed, table, code, times):
        fake.now = DUE
        result = drain(
            ledger, fake, FixedClock(DUE), workers=1, max_seconds=20, owner="t", dry_run=False, lease_seconds=60,
        )  # fmt: skip
    assert (result.succeeded, result.skipped) == ((1, 0) if times == 2 else (0, 1))
    let_leases_lapse(ledger)
    if times == FOR_EVER:
        with ledger.write() as connection:
            connection.execute(recovery_case.update().values(claimed_until=None))
    for day in (8.1, 8.2, 8.3):
        run(ledger, fake, day)
    assert (case_of(ledger, "pi_1")["state"], fake.succeeded("pi_1")) == ("recovered", 1)


def test_a_collision_that_does_not_end_is_told(ledger: Ledger) -> None:
    tried: list[int] = []

    def transaction() -> None:
        tried.append(1)
        with ledger.write() as connection:
            connection.execute(text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$"))

    with pytest.raises(OperationalError):
        repeated(transaction)
    assert len(tried) == 4


def test_a_result_is_kept_through_a_real_deadlock(ledger: Ledger) -> None:
    """Another holds the attempt and wants the case; we hold the case and want the attempt."""
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    holding, failed = threading.Event(), []
    event.listen(ledger.engine, "handle_error", lambda told: failed.append(told.original_exception.sqlstate))

    def other() -> None:
        with ledger.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(select(attempt.c.id).with_for_update())
            holding.set()
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            deadline = time.monotonic() + 20
            with ledger.glance() as watching:
                while watching.execute(waiting).scalar_one() == 0 and time.monotonic() < deadline:
                    time.sleep(0.02)
            connection.execute(select(recovery_case.c.id).with_for_update())
            transaction.rollback()

    thread = threading.Thread(target=other)

    def meet() -> None:
        thread.start()
        assert holding.wait(20)

    result = run_until(ledger, fake, "before_settle", meet)
    thread.join(20)
    assert failed == ["40P01"]
    assert (result.succeeded, fake.succeeded("pi_1")) == (1, 1)
    assert [row["state"] for row in rows(ledger, attempt)] == ["succeeded"]
    assert case_of(ledger, "pi_1")["state"] == "recovered"


def test_a_limit_that_is_reached_between_count_and_attempt_is_told_in_the_same_drain(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    case, seen = case_of(ledger, "pi_1"), []

    def refused_elsewhere(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO attempt ") and not seen:
            seen.append(statement)
            card = {"card_fingerprint": case["card_fingerprint"], "card_brand": case["card_brand"]}
            with ledger.write() as another:
                add_seen(another, "ch_other", DUE, customer_id="cus_other", **card)

    event.listen(ledger.engine, "before_cursor_execute", refused_elsewhere)
    fake.now = DUE
    result = drain(
        ledger, fake, FixedClock(DUE), workers=1, max_seconds=20, owner="t", dry_run=False, lease_seconds=60,
    )  # fmt: skip
    event.remove(ledger.engine, "before_cursor_execute", refused_elsewhere)
    assert seen
    assert (result.refused, result.skipped, fake.charges) == (1, 0, [])
    assert [row["rule"] for row in rows(ledger, cap_refusal)] == ["tinko_card_24h"]
    waiting = case_of(ledger, "pi_1")
    assert (waiting["due_at"], waiting["claimed_by"]) == (DUE + timedelta(days=1), None)
