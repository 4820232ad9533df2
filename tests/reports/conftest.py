"""The story built once: a real dbt build, a real snapshot."""

from pathlib import Path

import pytest

from tests.reports.synthetic import AS_OF, settings_in, story
from tinko_pipelines.reports.dbt_runner import BuildResult, build
from tinko_pipelines.settings import Settings


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, BuildResult]:
    settings = settings_in(tmp_path_factory.mktemp("story"))
    story().write(settings)
    return settings, build(settings, AS_OF, unit_tests=True)


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)
