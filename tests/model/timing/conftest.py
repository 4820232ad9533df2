"""A shop at a sandbox of its own, with a ledger of each kind."""

from collections.abc import Iterator

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture(scope="module", params=KINDS)
def shared_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """With each database, for all tests of a module."""
    folder = tmp_path_factory.mktemp("shop")
    with (
        SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, folder) as url,
    ):
        made = Shop(process.base, folder / "state", ledger_url=url)
        yield made
        made.app.ledger.close()
