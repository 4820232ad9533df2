"""Sharing due cases out among workers: each is claimed by one, for as long as a lease by the database's clock.

A claim only spares the others useless work; that no case is charged twice rests on the attempts. So one that a crash
of the database undoes is no loss: its transaction need not be durable.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    bindparam,
    exists,
    literal_column,
    select,
    text,
    tuple_,
)

from tinko_pipelines.ledger.leases import lapsed
from tinko_pipelines.ledger.schema import BLOCKING, attempt, one_of, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime


@dataclass(frozen=True, slots=True)
class Claim:
    """A due case that is ours for now; `payer` is whom the cases with the same cards have in common.

    It is in line by `due_at`, then by `changed_at`: of those that one limit keeps waiting for the same moment, who was
    put off first is first.
    """

    case_id: str
    due_at: datetime
    changed_at: datetime
    payer: str


def is_open() -> ColumnElement[bool]:
    """That the case is open, written out: a bound value would keep the partial index from being used."""
    return recovery_case.c.state == literal_column("'open'")


def not_blocked() -> ColumnElement[bool]:
    """That no attempt of the case is unresolved or has won."""
    return ~exists().where(attempt.c.case_id == recovery_case.c.id, text(one_of("attempt.state", BLOCKING)))


def unclaimed(ledger: Ledger) -> ColumnElement[bool]:
    """That nobody holds the case."""
    return lapsed(ledger, recovery_case.c.claimed_until)


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
    statement = ledger.built(_claiming, lease_seconds, after is not None, not_blocked)
    named = {"account": account_id, "live": livemode, "now": now, "owner": owner, "most": limit}
    if after is not None:
        named |= {"due": after.due_at, "changed": after.changed_at, "case": after.case_id}
    rows = connection.execute(statement, named).all()
    claims = [
        Claim(row.id, row.due_at, row.updated_at, row.customer_id or row.card_fingerprint or row.id)
        for row in rows
    ]
    return sorted(claims, key=lambda claim: (claim.due_at, claim.changed_at, claim.case_id))


def _claiming(
    ledger: Ledger, lease_seconds: float, behind: bool, free: Callable[[], ColumnElement[bool]]
) -> Executable:
    """One statement: each round trip to the database would be a part of every claim."""
    case = recovery_case.c
    in_line = (case.due_at, case.updated_at, case.id)
    due = (
        select(case.id)
        .where(
            is_open(),
            case.account_id == bindparam("account"),
            case.livemode == bindparam("live"),
            case.due_at <= bindparam("now"),
            unclaimed(ledger),
            free(),
        )
        .order_by(*in_line)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True, of=recovery_case)
    )
    if behind:
        last: tuple[Any, ...] = (
            bindparam("due", type_=UtcDateTime()),
            bindparam("changed", type_=UtcDateTime()),
            bindparam("case"),
        )
        due = due.where(tuple_(*in_line) > tuple_(*last))
    found = due.cte("due")
    return (
        recovery_case.update()
        .where(case.id.in_(select(found.c.id)))
        .values(claimed_by=bindparam("owner"), claimed_until=ledger.database_moment(lease_seconds))
        .returning(case.id, case.due_at, case.updated_at, case.customer_id, case.card_fingerprint)
    )


def release(connection: Connection, case_ids: Iterable[str], owner: str) -> None:
    """Give back what was claimed and not begun."""
    connection.execute(
        recovery_case.update()
        .where(recovery_case.c.id.in_(list(case_ids)), recovery_case.c.claimed_by == owner)
        .values(claimed_by=None, claimed_until=None)
    )
