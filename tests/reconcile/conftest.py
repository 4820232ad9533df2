"""One shop on each kind of ledger."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import database
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


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with database(request.getfixturevalue("postgres_url"), f"r{uuid.uuid4().hex}") as url:
        yield url


@pytest.fixture
def shop(tmp_path: Path, ledger_url: str) -> Iterator[Shop]:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=1, history_days=1) as process:
        made = Shop(process.base, tmp_path / "state", ledger_url=ledger_url)
        yield made
        made.app.ledger.close()
