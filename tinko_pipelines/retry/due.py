"""Whether anything is due, cheaply enough for a sensor to ask on every tick. Changes nothing."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, func, literal, select

from tinko_pipelines.ledger import claims, restored
from tinko_pipelines.ledger.control import charging_allowed, mailing_allowed
from tinko_pipelines.ledger.schema import message, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.waiting import page_open
from tinko_pipelines.retry.janitor import waiting

COUNTED_MOST = 10_000


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
    """Count what a drain or a mail run for the account would find to do at `now`; nothing that is paused.

    Nothing at all is due in a restored ledger that is not reconciled. Each count ends at `COUNTED_MOST`: with very much to do, a tick need not know how much.
    """
    if restored.pending(ledger, account_id):
        return DueSummary(0, 0, 0, 0)
    janitor = len(waiting(ledger, now, account_id, livemode))
    case = recovery_case.c
    open_cases = claims.is_open() & _of(recovery_case, account_id, livemode) & claims.not_blocked()
    scheduled = (message.c.state == "scheduled") & (message.c.due_at <= now) & ~page_open(message.c.case_id)
    with ledger.read() as connection:
        charging = charging_allowed(connection, account_id, now)
        mailing = mailing_allowed(connection, account_id)
        retries = _count(
            connection, recovery_case, open_cases & (case.due_at <= now) & claims.unclaimed(ledger)
        )
        marked = _count(connection, recovery_case, open_cases & (case.look_after <= now))
        unread = _count(connection, webhook_event, webhook_event.c.processed_at.is_(None))
        messages = _count(connection, message, scheduled & _of(message, account_id, livemode))
    return DueSummary(retries if charging else 0, janitor, marked + unread, messages if mailing else 0)


def _count(connection: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    some = select(literal(1)).select_from(table).where(condition).limit(COUNTED_MOST).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _of(table: Table, account_id: str, livemode: bool | None) -> ColumnElement[bool]:
    ours = table.c.account_id == account_id
    return ours if livemode is None else ours & (table.c.livemode == livemode)
