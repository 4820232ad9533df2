"""Who was erased, as the ledger remembers it: by hashes alone. And overwriting what a database keeps of deleted rows."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from sqlalchemy import Connection, func, select

from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger import meta
from tinko_pipelines.ledger.schema import erasure
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.ledger.triggers import DOOR

_AT_ONCE = 2_000


def known(ledger: Ledger, account_id: str) -> frozenset[str]:
    """The hashes of everything that is an erased person's in an account."""
    with ledger.glance() as connection:
        found = connection.execute(select(erasure.c.id_hash).where(erasure.c.account_id == account_id))
        return frozenset(found.scalars())


def count(ledger: Ledger, account_id: str) -> int:
    """How many hashes those are; none is ever taken back, so that more tells of a change."""
    with ledger.glance() as connection:
        query = select(func.count()).select_from(erasure).where(erasure.c.account_id == account_id)
        return int(connection.execute(query).scalar_one())


def remember(ledger: Ledger, account_id: str, hashes: Iterable[str], at: datetime) -> None:
    """Let nothing whose id has one of these hashes come in with a person again; on disk when this returns."""
    each = sorted(set(hashes))
    for start in range(0, len(each), _AT_ONCE):
        rows = [
            {"account_id": account_id, "id_hash": one, "erased_at": at}
            for one in each[start : start + _AT_ONCE]
        ]
        with ledger.write() as connection:
            connection.execute(insert_ignoring(ledger.dialect, erasure), rows)


@contextmanager
def door(connection: Connection, case_id: str) -> Iterator[None]:
    """Let this transaction empty the settled attempts and the events of a case of their person, and nothing else."""
    meta.put(connection, DOOR + case_id, "open")
    yield
    meta.forget(connection, DOOR + case_id)


def overwrite_freed(ledger: Ledger) -> None:
    """Write a SQLite ledger anew, so that its file holds nothing of what was deleted; PostgreSQL's vacuum is its owner's."""
    if ledger.dialect != "sqlite":
        return
    ledger.close()
    try:
        with closing(sqlite3.connect(ledger.engine.url.database or "", timeout=30)) as connection:
            connection.isolation_level = None
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"the ledger cannot be written anew: {error}; {_AGAIN}") from error
    if busy:
        raise StoreError(f"the ledger is being read, so its journal still holds what was erased; {_AGAIN}")


_AGAIN = "run the same command again when no other one is under way"
