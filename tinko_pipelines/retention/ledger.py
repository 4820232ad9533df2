"""The ledger: what sent mails said, and webhook events that are dealt with. No row of money is touched."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select

from tinko_pipelines.ledger.erasure import door
from tinko_pipelines.ledger.schema import message, message_body, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retention.freed import Freed

FINAL = ("sent", "failed")
"""States of a message that never goes out again; another one's body may still be wanted to the byte."""
AT_ONCE = 500
"""So many rows are changed in one transaction, so that nobody who charges or mails waits for long."""
MOST = 200_000


def bodies(ledger: Ledger, days: int, now: datetime, *, apply: bool) -> Freed:
    """Forget what mails said that were sent, or failed, so many days ago; the messages stay, with subject and times."""
    store, setting = "ledger: what mails said", f"TINKO_RETENTION_BODIES_DAYS={days}"
    if not days:
        return Freed(store, setting)
    body = message_body.c
    old = (
        body.content.is_not(None),
        body.made_at < now - timedelta(days=days),
        body.message_id.in_(select(message.c.id).where(message.c.state.in_(FINAL))),
    )
    with ledger.read() as connection:
        size = func.coalesce(func.sum(func.length(body.content)), 0)
        rows, size_bytes = connection.execute(select(func.count(), size).where(*old)).one()
    done = 0
    while apply and done < MOST:
        forgotten = _forget_some(ledger, old)
        done += forgotten
        if forgotten < AT_ONCE:
            break
    return Freed(
        store, setting, rows=int(rows), size_bytes=int(size_bytes), left=int(rows) - done if apply else 0
    )


def _forget_some(ledger: Ledger, old: tuple[ColumnElement[bool], ...]) -> int:
    """Empty a few by the door that an erasure goes through too, since the database lets nobody else change a body."""
    body = message_body.c
    with ledger.write() as connection:
        few = connection.execute(select(body.case_id, body.message_id).where(*old).limit(AT_ONCE)).all()
        by_case: defaultdict[str, list[str]] = defaultdict(list)
        for case_id, message_id in few:
            by_case[case_id].append(message_id)
        for case_id, ids in by_case.items():
            with door(connection, case_id):
                emptied = message_body.update().where(body.message_id.in_(ids))
                connection.execute(emptied.values(content=None, sha256=None))
    return len(few)


def events(ledger: Ledger, days: int, now: datetime, *, apply: bool) -> Freed:
    """Remove webhook events so many days old that have marked their case and are in the lake; Stripe sends none so late again."""
    store, setting = "ledger: webhook events", f"TINKO_RETENTION_WEBHOOKS_DAYS={days}"
    if not days:
        return Freed(store, setting)
    event = webhook_event.c
    old = (
        event.processed_at.is_not(None),
        event.landed_at.is_not(None),
        event.received_at < now - timedelta(days=days),
    )
    with ledger.read() as connection:
        size = func.coalesce(func.sum(func.coalesce(func.length(event.payload), 0)), 0)
        rows, size_bytes = connection.execute(select(func.count(), size).where(*old)).one()
    done = 0
    while apply and done < MOST:
        with ledger.write() as connection:
            few: Any = select(event.event_id).where(*old).limit(AT_ONCE)
            gone = connection.execute(webhook_event.delete().where(event.event_id.in_(few))).rowcount
        done += gone
        if gone < AT_ONCE:
            break
    return Freed(
        store, setting, rows=int(rows), size_bytes=int(size_bytes), left=int(rows) - done if apply else 0
    )
