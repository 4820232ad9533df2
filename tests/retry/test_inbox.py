"""Events among very many cases: what they touch is found through indexes, on both databases."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text

from tests.fake_stripe import NOW
from tests.retry.test_drain import rows
from tests.retry.test_trouble import Troubled, tell
from tinko_pipelines.ledger.schema import recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import inbox

MANY = 60_000
MADE = """
INSERT INTO recovery_case (id, account_id, livemode, debt_kind, debt_id, live_object_id, payment_intent_id,
  subscription_id, customer_id, amount_minor, currency, state, plan, first_failed_at, plan_ends_at, due_at,
  max_attempts, created_at, updated_at)
SELECT 'case' || n, 'default', false, 'invoice', 'in_' || n, 'in_' || n, 'pi_' || n, 'sub_' || (n / 2),
  'cus_' || (n / 3), 1000, 'usd', 'open', '{}', :now, :later, :later, 5, :now, :now FROM {series}
"""
ATTEMPTED = """
INSERT INTO attempt (id, case_id, n, idempotency_key, account_id, livemode, amount_minor, currency, operation,
  object_id, params, params_sha256, api_version, state, fence, prepared_at)
SELECT 'att' || n, 'case' || n, 1, 'key' || n, 'default', false, 1000, 'usd', 'invoice.pay', 'in_' || n, '{}', 'x',
  'v', 'prepared', 1, :now FROM {series}
"""
SERIES = {
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {most}) SELECT n FROM s)",
    "postgresql": "generate_series(1, {most}) AS n",
}


@pytest.fixture
def crowded(ledger: Ledger) -> Ledger:
    series = SERIES[ledger.dialect].format(most=MANY)
    with ledger.write() as connection:
        moments = {"now": NOW, "later": NOW + timedelta(days=9)}
        if ledger.dialect == "sqlite":
            moments = {name: f"{at:%Y-%m-%dT%H:%M:%S.%f}Z" for name, at in moments.items()}  # type: ignore[misc]
        if ledger.dialect == "postgresql":
            # Rules looked at row by row are not what is measured here.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(MADE.replace("{series}", series)), moments)
        connection.execute(text(ATTEMPTED.replace("{series}", series)), moments)
        connection.execute(text("ANALYZE"))
    return ledger


def plans_of(ledger: Ledger, act: Callable[[], Any]) -> list[tuple[str, str]]:
    """Every statement that `act` sends to the cases or attempts, with how the database goes about it."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if re.search(r"recovery_case|attempt", statement):
            sent.append((statement, parameters))

    event.listen(ledger.engine, "before_cursor_execute", note)
    act()
    event.remove(ledger.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if ledger.dialect == "sqlite" else "EXPLAIN"
    with ledger.read() as connection:
        return [
            (statement, "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", given)))
            for statement, given in sent
        ]  # fmt: skip


@pytest.mark.parametrize("events", [1, 60])
def test_no_event_has_all_cases_read(crowded: Ledger, events: int) -> None:
    kinds = ("in", "pi", "sub", "cus")
    told = [f"{kinds[number % 4]}_{100 + 7 * number}" for number in range(events)]
    for name in told:
        tell(crowded, name, "invoice.paid")
    plans = plans_of(crowded, lambda: inbox.mark(crowded, NOW))
    plans += plans_of(crowded, lambda: inbox.look_at_marked(crowded, Troubled(), NOW, limit=1))
    assert 6 <= len(plans) <= 9, "as many statements for a batch as for one event"
    for statement, plan in plans:
        assert re.search(r"case_|attempt_|one_|pkey|autoindex", plan), plan
        scanned = re.search(
            r"SCAN (recovery_case|attempt)\b(?! USING)|Seq Scan on (recovery_case|attempt)", plan
        )
        assert not scanned, f"{statement}\n{plan}"


def test_each_event_marks_all_that_it_touches_and_nothing_else(crowded: Ledger) -> None:
    with crowded.write() as connection:
        for name, state in (("case30", "recovered"), ("case31", "recovered"), ("case60", "cancelled")):
            change = recovery_case.update().where(recovery_case.c.id == name).values(state=state)
            connection.execute(change)
    for name, kind in (
        ("in_10", "invoice.updated"), ("pi_20", "payment_intent.succeeded"), ("in_30", "invoice.paid"),
        ("in_31", "invoice.updated"), ("sub_20", "customer.subscription.updated"), ("cus_20", "customer.updated"),
        ("in_60", "invoice.paid"), ("in_10", "invoice.updated"), (None, "balance.available"),
    ):  # fmt: skip
        tell(crowded, name, kind)
    assert inbox.mark(crowded, NOW) == 9
    with crowded.read() as connection:
        query = select(recovery_case.c.id, recovery_case.c.version).where(recovery_case.c.look_after == NOW)
        marked = dict(connection.execute(query).tuples().all())
    touched = [10, 20, 30, 40, 41, 61, 62]
    assert set(marked) == {f"case{number}" for number in touched}
    assert set(marked.values()) == {2}
    assert all(row["processed_at"] == NOW for row in rows(crowded, webhook_event))
    assert inbox.mark(crowded, NOW) == 0
