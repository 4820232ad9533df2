"""Whether anything is due, cheaply enough for a sensor to ask on every tick. Changes nothing."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select

from tinko_pipelines.ledger.schema import BLOCKING, attempt, message, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.janitor import waiting


@dataclass(frozen=True, slots=True)
class DueSummary:
    """How many cases, unsettled attempts, unread events (or marked cases) and messages wait."""

    retries: int
    janitor: int
    inbox: int
    messages: int

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def anything_due(ledger: Ledger, now: datetime) -> DueSummary:
    """Count what a drain or a mail run would find to do at `now`."""
    janitor = len(waiting(ledger, now))
    blocked = select(attempt.c.case_id).where(attempt.c.state.in_(BLOCKING))
    count = select(func.count())
    with ledger.read() as connection:
        open_cases = recovery_case.c.state == "open"
        free = recovery_case.c.id.not_in(blocked)
        retries = connection.execute(
            count.select_from(recovery_case).where(open_cases, recovery_case.c.due_at <= now, free)
        ).scalar_one()
        marked = connection.execute(
            count.select_from(recovery_case).where(open_cases, recovery_case.c.look_after <= now, free)
        ).scalar_one()
        unread = connection.execute(
            count.select_from(webhook_event).where(webhook_event.c.processed_at.is_(None))
        ).scalar_one()
        messages = connection.execute(
            count.select_from(message).where(message.c.state == "scheduled", message.c.due_at <= now)
        ).scalar_one()
    return DueSummary(retries, janitor, marked + unread, messages)
