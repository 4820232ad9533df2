"""The tree's own rules: names of the rooms, no Python below dbt/, one source for what Dagster loads."""

import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("room", ["tinko_pipelines", "assets", "sensors", "resources"])
def test_a_room_is_ours(room: str) -> None:
    assert set(packages_distributions().get(room, [])) <= {"tinko-pipelines"}
    spec = find_spec(room)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent.parent == ROOT


def test_no_python_below_dbt() -> None:
    assert list((ROOT / "dbt").rglob("*.py")) == []


def test_workspace_is_the_only_source() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "dagster" not in tool
    assert "dg" not in tool


def test_constraints_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines
    assert all("==" in line and "/" not in line for line in lines)
