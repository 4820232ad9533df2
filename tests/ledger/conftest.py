"""One ledger of each kind for all tests that leave nothing behind."""

from collections.abc import Iterator

import pytest

from tests.ledgers import KINDS, empty_ledger
from tinko_pipelines.ledger.store import Ledger


@pytest.fixture(scope="session", params=KINDS)
def untouched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Whoever writes to it undoes that."""
    with empty_ledger(request, tmp_path_factory.mktemp("untouched")) as made:
        yield made
