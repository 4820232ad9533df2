"""Sharing due cases out among workers: each is claimed by one, for as long as a lease by the database's clock.

A claim only spares the others useless work; that no case is charged twice rests on the attempts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, literal, literal_column, or_, select, text, tuple_

from tinko_pipelines.ledger.schema import BLOCKING, attempt, one_of, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime


@dataclass(frozen=True, slots=True)
class Claim:
    """A due case that is ours for now; `payer` is whom the cases with the same cards have in common."""

    case_id: str
    due_at: datetime
    payer: str


def is_open() -> ColumnElement[bool]:
    """That the case is open, written out: a bound value would keep the partial index from being used."""
    return recovery_case.c.state == literal_column("'open'")


def not_blocked() -> ColumnElement[bool]:
    """That no attempt of the case is unresolved or has won."""
    return ~exists().where(attempt.c.case_id == recovery_case.c.id, text(one_of("attempt.state", BLOCKING)))


def unclaimed(ledger: Ledger) -> ColumnElement[bool]:
    """That nobody holds the case."""
    until = recovery_case.c.claimed_until
    return or_(until.is_(None), until <= ledger.database_moment())


def claim_due(
    ledger: Ledger,
    connection: Connection,
    *,
    account_id: str,
    livemode: bool,
    now: datetime,
    owner: str,
    limit: int,
    lease_seconds: float,
    after: Claim | None = None,
) -> list[Claim]:
    """Claim at most `limit` cases due at `now` that nobody holds, the longest due first, none twice.

    With `after`, only those behind it, so that a worker never walks over what was claimed before.
    """
    case = recovery_case.c
    due = (
        select(case.id)
        .where(
            is_open(),
            case.account_id == account_id,
            case.livemode == livemode,
            case.due_at <= now,
            unclaimed(ledger),
            not_blocked(),
        )
        .order_by(case.due_at, case.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=recovery_case)
    )
    if after is not None:
        behind = tuple_(literal(after.due_at, UtcDateTime()), literal(after.case_id))
        due = due.where(tuple_(case.due_at, case.id) > behind)
    # One statement: each round trip to the database would be a part of every claim.
    found = due.cte("due")
    rows = connection.execute(
        recovery_case.update()
        .where(case.id.in_(select(found.c.id)))
        .values(claimed_by=owner, claimed_until=ledger.database_moment(lease_seconds))
        .returning(case.id, case.due_at, case.customer_id, case.card_fingerprint)
    ).all()
    claims = [Claim(row.id, row.due_at, row.customer_id or row.card_fingerprint or row.id) for row in rows]
    return sorted(claims, key=lambda claim: (claim.due_at, claim.case_id))


def release(connection: Connection, case_ids: Iterable[str], owner: str) -> None:
    """Give back what was claimed and not begun."""
    connection.execute(
        recovery_case.update()
        .where(recovery_case.c.id.in_(list(case_ids)), recovery_case.c.claimed_by == owner)
        .values(claimed_by=None, claimed_until=None)
    )
