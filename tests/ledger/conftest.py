"""One ledger of each kind for all tests that leave nothing behind."""

import uuid
from collections.abc import Iterator

import pytest

from tests.postgres import database
from tinko_pipelines.ledger.store import Ledger


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def untouched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Whoever writes to it undoes that."""
    if request.param == "sqlite":
        opened = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('untouched') / 'ledger.db'}")
        opened.migrate()
        yield opened
        opened.close()
        return
    with database(request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}") as url:
        opened = Ledger.open(url)
        opened.migrate()
        yield opened
        opened.close()
