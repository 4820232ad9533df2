"""One ledger of each kind, and a local S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import KINDS, empty_ledger
from tests.object_store import LocalS3
from tests.postgres import postgres_server
from tinko_pipelines.ledger.store import Ledger


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, so that no worker is left alone with one in the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    served = LocalS3()
    yield served
    served.close()


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with empty_ledger(request, tmp_path) as made:
        yield made
