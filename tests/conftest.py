"""One ledger of each kind, and a local S3."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ledgers import KINDS, empty_ledger, migrate
from tests.object_store import LocalS3
from tests.postgres import database, postgres_server
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reports import dbt_runner
from tinko_pipelines.reports.dbt_child import Child, dbt_started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, so that no worker is left alone with one in the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_database(postgres_url: str) -> str:
    """The name of a ledger without rows, to be copied."""
    with database(postgres_url, "migrated") as url:
        migrate(url)
    return "migrated"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on SQLite."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session", autouse=True)
def parsed_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What dbt parsed for the first state folder serves the others: it takes three CPU-seconds, and the project is the same."""
    kept = tmp_path_factory.mktemp("parsed") / "partial_parse.msgpack"

    @contextmanager
    def started(state: Path, variables: Mapping[str, str], seconds_max: float) -> Iterator[Child]:
        parsed = Path(variables["DBT_TARGET_PATH"]) / kept.name
        if kept.exists() and not parsed.exists():
            parsed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept, parsed)
        with dbt_started(state, variables, seconds_max) as child:
            yield child
        if child.process.returncode == 0:
            shutil.copy(parsed, kept)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dbt_runner, "dbt_started", started)
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    served = LocalS3()
    yield served
    served.close()


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with empty_ledger(request, tmp_path) as made:
        yield made
