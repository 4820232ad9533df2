"""Ledgers of either kind for tests."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.postgres import database
from tinko_pipelines.ledger.store import Ledger

KINDS = ["sqlite", "postgresql"]


@contextmanager
def empty_ledger(request: pytest.FixtureRequest, folder: Path) -> Iterator[Ledger]:
    """A new one of the kind that is the fixture's parameter, at the newest schema: a copy of one that was migrated."""
    if request.param == "sqlite":
        copy = folder / "ledger.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), copy)
        opened = Ledger.open(f"sqlite:///{copy}")
        yield opened
        opened.close()
        return
    server, like = request.getfixturevalue("postgres_url"), request.getfixturevalue("migrated_database")
    with database(server, f"t{uuid.uuid4().hex}", like) as url:
        opened = Ledger.open(url)
        yield opened
        opened.close()


def migrate(url: str) -> None:
    """Make a ledger without rows there."""
    opened = Ledger.open(url)
    opened.migrate()
    opened.close()


@contextmanager
def ledger_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Where a new one of that kind may be made."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
        return
    with database(request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}") as url:
        yield url
