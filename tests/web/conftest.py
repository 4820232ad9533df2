"""A ledger of each kind with a server before it; a shop with links at a sandbox of its own, its web, and a customer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tests.web import counter
from tests.web.serving import OTHER_SECRET, Served, serving
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ledger_url(request, tmp_path) as found:
        yield found


@pytest.fixture
def served(url: str, tmp_path: Path) -> Iterator[Served]:
    """Of two accounts, of which the second is a connected one with a secret of its own."""
    more = {
        "TINKO_MORE_ACCOUNTS": "eu=acct_eu",
        "TINKO_MORE_WEBHOOK_SECRETS": f"eu={OTHER_SECRET}",
    }
    with serving(tmp_path / "state", TINKO_LEDGER_URL=url, **more) as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("counter")
    with (
        SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, folder) as url,
    ):
        made = Shop(process.base, folder / "state", ledger_url=url, public_url=counter.PUBLIC)
        made.stripe.mode(pages="own", stripe_retries="off")
        yield made
        made.app.ledger.close()


@pytest.fixture(scope="module")
def customer(shop: Shop) -> Iterator[counter.Customer]:
    with counter.served(shop.app) as base:
        made = counter.Customer(base)
        yield made
        made.http.close()
