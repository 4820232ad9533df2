"""The notebook of the timing model, run from its first cell to its last as marimo does it."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.csv as pc
import pytest

from tests.model.timing.attempts import invented
from tinko_pipelines.app import App
from tinko_pipelines.settings import load_settings

NOTEBOOK = Path(__file__).parents[3] / "docs" / "notebooks" / "timing_model.py"


def marimo(*arguments: str, state: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "marimo", *arguments], env=clean | {"TINKO_STATE": str(state)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run(tmp_path: Path, *arguments: str) -> str:
    """What a person would see of it."""
    page = tmp_path / "page.html"
    marimo("export", "html", str(NOTEBOOK), "-o", str(page), "--force", "--", *arguments, state=tmp_path)
    return page.read_text("utf-8")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    attempts = invented(8_000)
    path = tmp_path / "attempts.csv"
    pc.write_csv(attempts.rename_columns([name.replace("succeeded", "paid") for name in attempts.column_names]), path)  # fmt: skip
    return path


def test_it_leads_from_an_export_to_a_promoted_candidate(tmp_path: Path, export: Path) -> None:
    page = run(
        tmp_path, "--attempts", str(export), "--outcome", "paid", "--train", "--promote", "it is better"
    )
    app = App(load_settings(state=tmp_path))
    promoted = app.registry.promoted()
    assert promoted is not None
    assert promoted.made_by.startswith("notebook:")
    assert "plans from now on" in page
    assert app.registry.journal.history()[-1].reason == "it is better"
    told = app.evaluate_model(None)["judgement"]
    assert (told.passed, told.against) == (True, "the base rate"), "with no training set in the lake"


def test_what_it_cannot_do_it_says(tmp_path: Path, export: Path) -> None:
    page = run(tmp_path, "--train", "--promote", "it is better")
    assert "No attempts to learn from" in page
    again = run(tmp_path, "--attempts", str(export), "--outcome", "amount_minor", "--train")
    assert "No attempts to learn from" in again
    assert "amount_minor" in again
    few = tmp_path / "few.csv"
    few.write_text("".join(export.read_text().splitlines(keepends=True)[:100]))
    assert "Not trained" in run(tmp_path, "--attempts", str(few), "--outcome", "paid", "--train")
    assert App(load_settings(state=tmp_path)).registry.versions() == []


def test_untouched_it_trains_and_promotes_nothing(tmp_path: Path, export: Path) -> None:
    page = run(tmp_path, "--attempts", str(export), "--outcome", "paid")
    assert "Press the button" in page
    assert App(load_settings(state=tmp_path)).registry.versions() == []


def test_marimo_finds_no_fault_with_it(tmp_path: Path) -> None:
    marimo("check", "--strict", str(NOTEBOOK), state=tmp_path)
