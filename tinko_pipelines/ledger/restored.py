"""Noticing that a ledger is not the one last seen here, and holding everything back until it is reconciled.

A mark outside the database remembers which ledger it was and its latest rows; rows of that kind never go away.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.ledger import control, meta
from tinko_pipelines.ledger.control import GLOBAL, accounts, pause
from tinko_pipelines.ledger.schema import attempt, case_event, ledger_meta, message, reconciliation
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

ACTOR = "restore"
_IDENTITY = "ledger_id"


def hold(
    ledger: Ledger, account_ids: Collection[str], reason: str, at: datetime, *, lost: bool = False
) -> int:
    """Pause all charging and mailing until these and every account of the ledger are reconciled and a person resumes it.

    A mail that fell due meanwhile may have been sent by the ledger that is gone, so it is dropped; with `lost` also
    each mail ahead, since this ledger's plans begin anew what the other one had begun. The number of mails dropped.
    """
    names = accounts(ledger) | set(account_ids)
    pause(ledger, GLOBAL, reason, ACTOR, at)
    maybe_sent = message.c.state == "scheduled"
    if not lost:
        maybe_sent &= message.c.due_at <= at
    with ledger.write() as connection:
        dropped = connection.execute(
            message.update()
            .where(maybe_sent)
            .values(state="dropped", drop_reason="it may have been sent before the ledger was restored")
        )
        for name in sorted(names):
            for key in (_pending_key(name), _forgiven_key(name)):
                meta.put(connection, key, at.isoformat())
    return dropped.rowcount


def take_over(
    ledger: Ledger, mark: Path, account_ids: Collection[str], reason: str, at: datetime, *, lost: bool = False
) -> int:
    """Hold everything, and know this ledger from now on; the number of mails dropped."""
    dropped = hold(ledger, account_ids, reason, at, lost=lost)
    remember(ledger, mark, account_ids)
    return dropped


def hold_another(ledger: Ledger, mark: Path, account_ids: Collection[str], at: datetime) -> None:
    """Hold everything if this is not the ledger that was last seen here, or an older state of it.

    All accounts at once, since a mark that names this ledger makes it look strange to nobody any more.
    """
    if (why := strange(ledger, mark)) is not None:
        take_over(ledger, mark, account_ids, why, at)


def hold_successor(
    ledger: Ledger,
    named: Callable[[], Set[str]],
    account_id: str,
    at: datetime,
    account_ids: Collection[str] = (),
) -> bool:
    """Hold everything if Stripe has `named` attempts of ours and this ledger none: it follows a lost one.

    With it all of `account_ids` are held: what was only mailed has left no trace at Stripe.
    """
    made = select(attempt.c.id).where(attempt.c.account_id == account_id).limit(1)
    with ledger.read() as connection:
        known = meta.get(connection, _forgiven_key(account_id)) or connection.execute(made).first()
    if known is not None or not (names := named()):
        return False
    example = min(names)
    reason = f"Stripe knows attempts of ours ({example} …), this ledger has none: another one was lost"
    hold(ledger, {account_id, *account_ids}, reason, at, lost=True)
    return True


@contextmanager
def same_ledger(
    ledger: Ledger, mark: Path, account_id: str, account_ids: Collection[str], clock: Clock
) -> Iterator[None]:
    """Charge and mail nothing of an account, one of `account_ids`, from a ledger that is not the one last seen here."""
    hold_another(ledger, mark, account_ids, clock.now())
    if pending(ledger, account_id):
        raise StoreError(
            "the ledger was restored or replaced, so nothing is charged or mailed:"
            " `tinko reconcile` until it agrees, then `tinko resume`"
        )
    try:
        yield
    finally:
        remember(ledger, mark, account_ids)


def resume(
    ledger: Ledger, account_id: str | None, reason: str, by: str, at: datetime, *, anyway: bool
) -> None:
    """Let a person allow charging and mailing again; refused while ledger and Stripe disagree, unless `anyway`."""
    against = objections(ledger, account_id)
    if against and not anyway:
        raise InputError(
            f"{'; '.join(against)}: run `tinko reconcile` and see to `tinko anomalies`, or resume --anyway"
        )
    for name in any_pending(ledger):
        if account_id in (None, name):
            done(ledger, name)
    control.resume(ledger, account_id or GLOBAL, reason, by, at)


def pending(ledger: Ledger, account_id: str) -> bool:
    """Whether the ledger was restored or lost and not reconciled with this account since."""
    return _get(ledger, _pending_key(account_id)) is not None


def any_pending(ledger: Ledger) -> list[str]:
    """Accounts still to be reconciled after a restore."""
    prefix = _pending_key("")
    with ledger.read() as connection:
        keys = connection.execute(select(ledger_meta.c.key).where(ledger_meta.c.key.startswith(prefix)))
        return sorted(key.removeprefix(prefix) for key in keys.scalars())


def done(ledger: Ledger, account_id: str) -> None:
    """The account agrees again; a person may resume."""
    with ledger.write() as connection:
        meta.forget(connection, _pending_key(account_id))


def forgiven_before(ledger: Ledger, account_id: str) -> datetime | None:
    """Attempts before this moment may be missing where their whole case is: they went with a lost ledger."""
    found = _get(ledger, _forgiven_key(account_id))
    return None if found is None else datetime.fromisoformat(found)


def objections(ledger: Ledger, account_id: str | None) -> list[str]:
    """Why a person should not resume charging yet, for one account or all."""
    ours = (
        reconciliation.c.account_id == account_id if account_id else reconciliation.c.account_id.is_not(None)
    )
    query = select(reconciliation.c.account_id).where(ours, reconciliation.c.disagreements > 0)
    with ledger.read() as connection:
        disputed = sorted(connection.execute(query).scalars())
    waiting = [name for name in any_pending(ledger) if account_id in (None, name)]
    return [f"{name} is not reconciled since the ledger was restored" for name in waiting] + [
        f"ledger and Stripe disagree about money of {name}" for name in disputed
    ]


def strange(ledger: Ledger, mark: Path) -> str | None:
    """Why this ledger is not the one that was last seen here, or later; None when it is, or none was seen yet."""
    if not mark.exists():
        return None
    try:
        seen = json.loads(mark.read_text("utf-8"))
        identity, event, called = seen["ledger"], seen["event"], seen["called"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{mark} cannot be read, so the ledger may be an older one"
    with ledger.read() as connection:
        here = _present(connection, event and event[0], called and called[0])
    if here["ledger"] != identity:
        return "this is another ledger than the one last seen here"
    if here["event"] != event or here["called"] != called:
        return "the ledger is older than what was last seen here"
    return None


def remember(ledger: Ledger, mark: Path, account_ids: Collection[str]) -> None:
    """Note which ledger this is and how far it has come in all of these accounts."""
    present = _latest(ledger, account_ids)
    if present["ledger"] is None:
        with ledger.write() as connection:
            named = insert_ignoring(ledger.dialect, ledger_meta)
            connection.execute(named.values(key=_IDENTITY, value=str(uuid.uuid4())))
        present = _latest(ledger, account_ids)
    partial = mark.with_suffix(f".{os.getpid()}.partial")
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(present), "utf-8")
        partial.replace(mark)
    except OSError as error:
        raise StoreError(
            f"{mark} cannot be written: {error.strerror or error}; make room or check its rights"
        ) from error


def _latest(ledger: Ledger, account_ids: Collection[str]) -> dict[str, Any]:
    made = select(attempt.c.called_at, attempt.c.id).where(attempt.c.called_at.is_not(None))
    with ledger.read() as connection:
        last_event = connection.execute(
            select(case_event.c.id).order_by(case_event.c.id.desc()).limit(1)
        ).scalar()
        newest = [
            row
            for name in account_ids
            for row in connection.execute(
                made.where(attempt.c.account_id == name)
                .order_by(attempt.c.called_at.desc(), attempt.c.id)
                .limit(1)
            )
        ]
        called = max(newest, default=None, key=lambda row: (row.called_at, row.id))
        return _present(connection, last_event, None if called is None else str(called.id))


def _present(connection: Connection, event_id: int | None, attempt_id: str | None) -> dict[str, Any]:
    identity = connection.execute(select(ledger_meta.c.value).where(ledger_meta.c.key == _IDENTITY)).scalar()
    row = connection.execute(select(case_event).where(case_event.c.id == event_id)).first()
    called = connection.execute(select(attempt.c.called_at).where(attempt.c.id == attempt_id)).scalar()
    told = None if row is None else hashlib.sha256(repr(tuple(map(str, row))).encode()).hexdigest()
    return {
        "ledger": identity,
        "event": None if row is None else [event_id, told],
        "called": None if called is None else [attempt_id, called.isoformat()],
    }


def _get(ledger: Ledger, key: str) -> str | None:
    with ledger.read() as connection:
        return meta.get(connection, key)


def _pending_key(account_id: str) -> str:
    return f"restored:{account_id}"


def _forgiven_key(account_id: str) -> str:
    return f"forgiven:{account_id}"
