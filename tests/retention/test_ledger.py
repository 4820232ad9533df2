"""What sent mails said goes, and events that are dealt with; all else of the ledger stays as it was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tests.ledger.rows import add_case
from tinko_pipelines.ledger.schema import message, message_body, metadata, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retention import ledger as kept
from tinko_pipelines.retention.ledger import bodies, events

NOW = datetime(2026, 11, 20, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=5)


def everything(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    with ledger.read() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for name, table in metadata.tables.items()
        }


def mail(ledger: Ledger, case_id: str, step: int, state: str, at: datetime) -> None:
    name = f"{case_id}-{step}"
    with ledger.write() as connection:
        row = {"id": name, "case_id": case_id, "account_id": "default", "livemode": False, "step": step,
               "kind": "dunning", "template": "t", "state": "scheduled", "due_at": at}  # fmt: skip
        connection.execute(message.insert().values(**row))
        body = {"message_id": name, "case_id": case_id, "account_id": "default", "content": b"x" * 1000,
                "sha256": "y", "made_at": at}  # fmt: skip
        connection.execute(message_body.insert().values(**body))
        for next_state in {"sent": ("sending", "sent"), "failed": ("sending", "failed"), "scheduled": ()}[
            state
        ]:
            values = {"claimed_at": at, "address_hmac": name} if next_state == "sending" else {}
            connection.execute(
                message.update().where(message.c.id == name).values(state=next_state, **values)
            )


@pytest.fixture
def full(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(kept, "AT_ONCE", 2)
    for number in range(3):
        with ledger.write() as connection:
            add_case(connection, f"case_{number}")
        mail(ledger, f"case_{number}", 1, "sent", OLD)
        mail(ledger, f"case_{number}", 2, "failed", OLD)
        mail(ledger, f"case_{number}", 3, "scheduled", OLD)
        mail(ledger, f"case_{number}", 4, "sent", NEW)
    with ledger.write() as connection:
        for number in range(6):
            at, done = (OLD if number < 5 else NEW), (NEW if number != 4 else None)
            row = {"event_id": f"evt_{number}", "account_id": "default", "livemode": False, "type": "x", "created_at": at,
                   "received_at": at, "processed_at": NEW, "landed_at": done}  # fmt: skip
            connection.execute(webhook_event.insert().values(**row))
    return ledger


def test_only_what_is_final_and_old_is_forgotten(full: Ledger) -> None:
    before = everything(full)
    told = bodies(full, 90, NOW, apply=False)
    assert (told.rows, told.size_bytes, told.left) == (6, 6000, 0)
    assert events(full, 90, NOW, apply=False).rows == 4
    assert everything(full) == before, "a dry run changes nothing"
    assert bodies(full, 0, NOW, apply=True).rows == events(full, 0, NOW, apply=True).rows == 0
    assert everything(full) == before, "neither does what is set to never"

    assert bodies(full, 90, NOW, apply=True).left == events(full, 90, NOW, apply=True).left == 0
    after = everything(full)
    empty = {row["message_id"] for row in after["message_body"] if row["content"] is None}
    assert empty == {f"case_{number}-{step}" for number in range(3) for step in (1, 2)}
    assert {row["event_id"] for row in after["webhook_event"]} == {"evt_4", "evt_5"}
    for name in metadata.tables:
        if name not in ("message_body", "webhook_event"):
            assert after[name] == before[name], name
    assert bodies(full, 90, NOW, apply=True).rows == events(full, 90, NOW, apply=True).rows == 0


def test_one_run_does_only_so_much(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    told = bodies(full, 90, NOW, apply=True)
    assert (told.rows, told.left) == (6, 2)
    assert bodies(full, 90, NOW, apply=True).left == 0


def test_the_door_is_shut_again(full: Ledger) -> None:
    bodies(full, 90, NOW, apply=True)
    with pytest.raises(IntegrityError, match="what a message says is frozen"), full.write() as connection:
        connection.execute(message_body.update().values(content=None, sha256=None))
