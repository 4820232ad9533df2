"""A simulation on an empty ledger of each kind."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import database
from tests.properties.simulation import Simulation
from tests.retry.conftest import shared_shop
from tinko_pipelines.ledger.store import Ledger

__all__ = ["shared_shop", "sim"]


def _empty(url: str) -> str:
    made = Ledger.open(url)
    made.migrate()
    made.close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def sim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulation]:
    if request.param == "sqlite":
        made = Simulation(tmp_path, _empty(f"sqlite:///{tmp_path / 'ledger.db'}"))
        yield made
        made.close()
        return
    with database(request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}") as url:
        made = Simulation(tmp_path, _empty(url))
        yield made
        made.close()
