"""What one retry asks of the database: few statements, however many rules hold."""

from datetime import timedelta

from sqlalchemy import event

from tests.fake_stripe import NOW, FakeStripe
from tests.ledger.rows import add_rule
from tests.retry.test_drain import run
from tests.retry.test_trouble import planned
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.drain import drain

STATEMENTS_MOST = 20
"""Of one retry, with those that begin a transaction."""


def test_a_retry_takes_few_statements(ledger: Ledger) -> None:
    fake = FakeStripe()
    planned(ledger, fake, "pi_1")
    with ledger.write() as connection:
        for window_hours in range(1, 30):
            add_rule(connection, "fingerprint", 99, window_hours)
    run(ledger, fake, 0)
    fake.now = NOW + timedelta(days=8)
    inside: list[str] = []
    seen: list[str] = []
    event.listen(
        ledger.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: seen.append(statement) if inside else None,
    )

    def boundary(name: str) -> None:
        inside[:] = [] if name == "after_settle" else [name]

    drain(
        ledger, fake, FixedClock(fake.now), workers=1, max_seconds=20, owner="t", dry_run=False,
        boundary=boundary,
    )  # fmt: skip
    assert fake.succeeded("pi_1") == 1
    assert 10 < len(seen) <= STATEMENTS_MOST, seen
