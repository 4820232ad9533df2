"""Every change of a switch leaves one row that nobody can change or take away."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from tinko_pipelines.ledger.control import pause, pause_charging, resume
from tinko_pipelines.ledger.schema import control_event
from tinko_pipelines.ledger.store import Ledger

NOW = datetime(2026, 9, 10, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)


def test_the_history_of_the_switches_is_kept(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert pause_charging(connection, "default", "outage", "breaker", NOW, resumes_at=LATER)
        assert not pause_charging(connection, "default", "again", "breaker", NOW, resumes_at=LATER)
    pause(ledger, "global", "stop", "me", NOW)
    resume(ledger, "global", "go", "me", LATER)
    columns = control_event.c
    wanted = select(
        columns.scope, columns.actor, columns.charging_enabled, columns.mailing_enabled, columns.resumes_at
    )
    with ledger.read() as connection:
        found = [tuple(row) for row in connection.execute(wanted.order_by(columns.id))]
    assert found == [
        ("default", "breaker", False, True, LATER),
        ("global", "me", False, False, None),
        ("global", "me", True, True, None),
    ]
    for change in (control_event.delete(), control_event.update().values(actor="nobody")):
        with pytest.raises(DBAPIError, match="append-only"), ledger.write() as connection:
            connection.execute(change)
