"""A ledger of each kind with a server before it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.web.serving import OTHER_SECRET, Served, serving


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
