"""How much waits in the webhook inbox, and since when; asked often, so answered through indexes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select

from tinko_pipelines.ledger.events import COUNTED_MOST
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.ledger.store import Ledger


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the inbox to be brought into the lake or turned into marks, up to `COUNTED_MOST`, and since when."""

    unlanded: int
    unmarked: int
    oldest_received_at: datetime | None


def backlog(ledger: Ledger) -> Backlog:
    """Of all accounts."""
    event = webhook_event.c

    def some(condition: ColumnElement[bool]) -> Any:
        few = select(literal(1)).select_from(webhook_event).where(condition).limit(COUNTED_MOST).subquery()
        return select(func.count()).select_from(few).scalar_subquery()

    def oldest(condition: ColumnElement[bool]) -> Any:
        return select(func.min(event.received_at)).where(condition).scalar_subquery()

    unlanded, unmarked = event.landed_at.is_(None), event.processed_at.is_(None)
    query = select(some(unlanded), some(unmarked), oldest(unlanded), oldest(unmarked))
    with ledger.glance() as connection:
        landing, marking, *since = connection.execute(query).one()
    return Backlog(landing, marking, min((at for at in since if at is not None), default=None))
