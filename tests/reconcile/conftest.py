"""One shop on each kind of ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.reconcile.shop import Shop
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture(autouse=True)
def _every_ledger_is_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests here make a second and a third application on the same ledger; each ends with its test."""
    opened: list[Ledger] = []
    by_url = Ledger.open

    def remembered(url: str) -> Ledger:
        opened.append(by_url(url))
        return opened[-1]

    monkeypatch.setattr(Ledger, "open", remembered)
    yield
    for ledger in opened:
        ledger.close()


@pytest.fixture(name="ledger_url", params=KINDS)
def _ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ledger_url(request, tmp_path) as url:
        yield url


@pytest.fixture
def shop(tmp_path: Path, ledger_url: str) -> Iterator[Shop]:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=1, history_days=1) as process:
        made = Shop(process.base, tmp_path / "state", ledger_url=ledger_url)
        yield made
        made.app.ledger.close()
