"""The tree's own rules: names of the rooms, no Python below dbt/, one source for what Dagster loads."""

import os
import subprocess
import sys
import tomllib
import zipfile
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


def test_the_wheel_loads_and_brings_its_dbt_project(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "tinko_pipelines", "assets", "sensors", "resources",
    }  # fmt: skip
    loaded = subprocess.run(
        [
            sys.executable, "-c",
            "import tinko_pipelines.definitions as d; from tinko_pipelines.reports.dbt_runner import project_dir;"
            "print(d.__file__); print(project_dir()); print(len(d.defs.get_repository_def().get_all_jobs()))",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "TINKO_STATE": str(tmp_path / "state")},
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    where, project, jobs = loaded.stdout.splitlines()
    assert where.startswith(str(tmp_path / "site"))
    assert project.startswith(str(tmp_path / "site"))
    assert int(jobs) >= 6
