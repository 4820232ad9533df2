"""What goes wrong with one case must not stop the others: it is written down, and the case or attempt waits.

A refused key and a ledger that is not there are nobody's own trouble; those are raised and end the drain.
"""

from datetime import datetime, timedelta
from typing import Any, NoReturn

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tinko_pipelines.errors import GatewayError, TinkoError
from tinko_pipelines.ledger import anomalies, cases
from tinko_pipelines.ledger.schema import SESSION, UNRESOLVED, attempt
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry import breaker, looks, unreadable
from tinko_pipelines.retry.settle import load_case

WAIT = timedelta(hours=6)
KIND = "case_failed"


_OF_ONE_VALUE = ("22", "54")
"""Classes of PostgreSQL's errors that one value brings about: it has the wrong form, or is larger than an index holds."""


def is_everybodys(error: Exception) -> bool:
    """Whether the next case would fare no better."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        if is_of_one_value(error):
            return False
    return isinstance(error, GatewayError | OperationalError | InterfaceError | PoolTimeoutError)


def is_of_one_value(error: Exception) -> bool:
    """Whether the database refuses a value that it cannot store, by PostgreSQL's code; SQLite has no such codes."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")[:2] in _OF_ONE_VALUE


def key_refused(ledger: Ledger, account_id: str, at: datetime, detail: str | None) -> NoReturn:
    """Stop charging for the account and end the drain."""
    breaker.trip_on_refused_key(ledger, account_id, at, detail)
    raise GatewayError(f"Stripe refuses the key: {detail}; check STRIPE_SECRET_KEY and its rights")


def case_failed(ledger: Ledger, case_id: str, error: Exception, at: datetime, actor: str) -> None:
    """Let the case wait, if it is still open, and give up an attempt not called yet; one that was is the janitor's."""
    with ledger.write() as connection:
        case = load_case(ledger, connection, case_id)
        _note(connection, case, error, at, actor)
        connection.execute(
            attempt.update()
            .where(attempt.c.case_id == case_id, attempt.c.state == "prepared")
            .values(
                state="abandoned", answer=KIND, settled_at=at, lease_until=None, fence=attempt.c.fence + 1
            )
        )
        if case["state"] == "open" and unreadable.streak(connection, case).for_a_person:
            reason = f"it goes wrong each time: {_said(error)}"
            cases.close(connection, case, "needs_human", reason, at, actor, look_after=None)
            return
        later = {"due_at": min(at + WAIT, max(case["plan_ends_at"], at))} if case["state"] == "open" else {}
        cases.change(connection, case, at, look_after=None, **later)


def attempt_failed(ledger: Ledger, attempt_id: str, error: Exception, at: datetime, actor: str) -> None:
    """Let the attempt wait for its next look, and its case for a person: its outcome cannot be found out."""
    with ledger.write() as connection:
        found = connection.execute(select(attempt).where(attempt.c.id == attempt_id)).mappings().one()
        case = load_case(ledger, connection, found["case_id"])
        _note(connection, case, error, at, actor, attempt_id)
        polls = found["poll_count"]
        over = looks.given_up(found["called_at"] or at, found["state"], polls, at)
        connection.execute(
            attempt.update()
            .where(attempt.c.id == attempt_id, attempt.c.state.in_(UNRESOLVED))
            .values(
                next_poll_at=None if over and found["operation"] != SESSION else at + WAIT,
                poll_count=polls + 1,
                fence=attempt.c.fence + 1,
            )
        )
        if case["state"] == "open":
            reason = f"its attempt cannot be settled: {_said(error)}"
            cases.close(connection, case, "needs_human", reason, at, actor, attempt_id=attempt_id)


def _note(
    connection: Connection,
    case: dict[str, Any],
    error: Exception,
    at: datetime,
    actor: str,
    attempt_id: str | None = None,
) -> None:
    proposal = "look at the case; it goes on by itself once this is out of the way"
    new = anomalies.note(
        connection,
        str(case["account_id"]),
        KIND,
        str(case["id"]),
        at,
        case_id=case["id"],
        detail=_said(error),
        proposal=proposal,
    )
    if new:
        cases.record(connection, case, at, actor, KIND, attempt_id=attempt_id, detail=_said(error))


def _said(error: Exception) -> str:
    """What to tell of an error: our own sentence, else its kind and first line, which names no customer."""
    if isinstance(error, TinkoError):
        return str(error)[:500]
    lines = str(getattr(error, "orig", error)).replace("\0", "").strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
