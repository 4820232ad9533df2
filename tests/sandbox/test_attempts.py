"""Made-up attempts: the same for the same seed, and such as a timing model can be trained on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinko_pipelines.cli import cli
from tinko_pipelines.model.timing.read import read_attempts
from tinko_pipelines.model.timing.recovery import RecoveryModel
from tinko_pipelines.model.timing.schema import SCHEMA, completed, retries
from tinko_pipelines.model.timing.train import train_candidate
from tinko_pipelines.sandbox.attempts import invented_attempts


def test_each_debt_is_tried_until_it_is_paid_and_no_longer() -> None:
    frame = invented_attempts(7, 2_000)
    assert set(frame.columns) <= set(SCHEMA.names)
    assert invented_attempts(7, 2_000).equals(frame)
    assert not invented_attempts(8, 2_000).equals(frame)
    for _, debt in frame.groupby("debt_id"):
        assert debt["attempt_number"].tolist() == list(range(1, len(debt) + 1))
        assert debt["attempted_at"].is_monotonic_increasing
        assert not debt["succeeded"].iloc[:-1].any()
    first = frame["attempt_number"] == 1
    assert frame.loc[first, ["category", "decline_code"]].isna().all().all(), "nothing was refused before"
    assert frame.loc[~first, "category"].notna().all()


def test_a_candidate_learns_from_them(tmp_path: Path) -> None:
    path = tmp_path / "attempts.csv"
    done = CliRunner().invoke(cli, ["model", "invent", str(path), "--charges", "20000", "--json"])
    assert done.exit_code == 0, done.output
    attempts = read_attempts(path, "succeeded")
    assert f'"retries": {retries(completed(attempts)).num_rows}' in done.output
    made = train_candidate(attempts, now=datetime(2026, 10, 1, tzinfo=UTC))
    assert made.card["evaluation"]["gain"]["log_loss"]["low"] > 0
    assert RecoveryModel.loads(made.artefact).dumps() == made.artefact


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "attempts.csv"
    path.write_text("mine")
    done = CliRunner().invoke(cli, ["model", "invent", str(path), "--charges", "10"])
    assert done.exit_code != 0
    assert "exists: name a new file" in str(done.exception)
    assert path.read_text() == "mine"
