"""Whether anything is due, cheaply enough for a sensor to ask on every tick. Changes nothing."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Table, func, select

from tinko_pipelines.ledger.control import charging_allowed, mailing_allowed
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


def anything_due(ledger: Ledger, now: datetime, account_id: str, livemode: bool | None = None) -> DueSummary:
    """Count what a drain or a mail run for the account would find to do at `now`; nothing that is paused."""
    janitor = len(waiting(ledger, now, account_id, livemode))
    blocked = select(attempt.c.case_id).where(attempt.c.state.in_(BLOCKING))
    count = select(func.count())
    with ledger.read() as connection:
        charging = charging_allowed(connection, account_id, now)
        mailing = mailing_allowed(connection, account_id)
        open_cases = (recovery_case.c.state == "open") & _of(recovery_case, account_id, livemode)
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
            count.select_from(message).where(
                message.c.state == "scheduled", message.c.due_at <= now, _of(message, account_id, livemode)
            )
        ).scalar_one()
    return DueSummary(retries if charging else 0, janitor, marked + unread, messages if mailing else 0)


def _of(table: Table, account_id: str, livemode: bool | None) -> ColumnElement[bool]:
    ours = table.c.account_id == account_id
    return ours if livemode is None else ours & (table.c.livemode == livemode)
