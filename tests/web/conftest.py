"""A shop with links at a sandbox of its own, with each database; its web; and a customer."""

from collections.abc import Iterator

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tests.web.counter import PUBLIC, Customer, served
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("counter")
    with (
        SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, folder) as url,
    ):
        made = Shop(process.base, folder / "state", ledger_url=url, public_url=PUBLIC)
        made.stripe.mode(pages="own", stripe_retries="off")
        yield made
        made.app.ledger.close()


@pytest.fixture(scope="module")
def customer(shop: Shop) -> Iterator[Customer]:
    with served(shop.app) as base:
        made = Customer(base)
        yield made
        made.http.close()
