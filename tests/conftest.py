"""One ledger of each kind."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import database, postgres_server
from tinko_pipelines.ledger.store import Ledger


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
        opened.migrate()
        yield opened
        opened.close()
        return
    with database(request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}") as url:
        opened = Ledger.open(url)
        opened.migrate()
        yield opened
        opened.close()
