"""One ledger of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import KINDS, empty_ledger
from tests.postgres import postgres_server
from tinko_pipelines.ledger.store import Ledger


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with empty_ledger(request, tmp_path) as made:
        yield made
