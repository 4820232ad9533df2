"""Dagster's own storage, on a real instance: old finished runs go with all that is theirs, others never."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, build_schedule_context, job, op

from sensors import JOBS, SCHEDULES
from sensors.retention import purge_runs, retention_job, weekly_retention
from tinko_pipelines.cli_retention import PURGE_RUNS
from tinko_pipelines.settings import load_settings
from tinko_pipelines.ui import dagster_home


@op
def work() -> None:
    print("at work")


@job
def some_job() -> None:
    work()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    home = dagster_home(load_settings(state=tmp_path))
    with DagsterInstance.from_config(str(home)) as made:
        yield made


def left(instance: DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_finished_runs_go_and_others_stay(instance: DagsterInstance) -> None:
    old = [some_job.execute_in_process(instance=instance).run_id for _ in range(3)]
    busy = instance.create_run_for_job(some_job, status=DagsterRunStatus.STARTED).run_id
    home = Path(instance.root_directory)
    shard = home / "history" / "runs" / f"{old[0]}.db"
    assert shard.exists()
    later = datetime.now(UTC) + timedelta(days=31)
    nothing = {"rows": 0, "files": 0, "size_bytes": 0, "left": 0}
    assert purge_runs(instance, 30, datetime.now(UTC), apply=True) == nothing
    assert purge_runs(instance, 30, later, apply=False)["rows"] == 3
    assert left(instance) == {*old, busy}
    some = purge_runs(instance, 30, later, apply=True, most=2)
    assert (some["rows"], some["left"]) == (3, 1)
    for run_id in {*old} - left(instance):
        assert not shard.with_stem(run_id).exists(), "by then it is a month old"
    assert purge_runs(instance, 30, later, apply=True)["rows"] == 1
    assert left(instance) == {busy}
    assert not shard.exists()
    for run_id in old:
        assert not list((home / "storage").glob(f"{run_id}*"))


def test_a_file_that_somebody_may_read_is_left_for_a_day(instance: DagsterInstance) -> None:
    run_id = some_job.execute_in_process(instance=instance).run_id
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert purge_runs(instance, 0, now, apply=True)["rows"] == 1
    assert (instance.has_run(run_id), instance.all_logs(run_id)) == (False, [])
    told = purge_runs(instance, 0, now + timedelta(days=2), apply=False)
    assert (told["rows"], told["files"] > 0, told["size_bytes"] > 0) == (0, True, True)


def test_as_a_program_it_says_what_it_found(instance: DagsterInstance, tmp_path: Path) -> None:
    run_id = some_job.execute_in_process(instance=instance).run_id
    time.sleep(0.01)
    done = subprocess.run(
        [sys.executable, "-c", PURGE_RUNS, "0", "--yes"], env={"DAGSTER_HOME": instance.root_directory, "PATH": "", "TINKO_STATE": str(tmp_path)},
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == 1
    assert run_id not in left(instance)


def test_the_schedule_waits_for_a_setting(monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance) -> None:
    assert retention_job in JOBS
    assert weekly_retention in SCHEDULES
    monkeypatch.delenv("TINKO_RETENTION_WEEKLY", raising=False)
    with build_schedule_context(instance) as context:
        told = weekly_retention.evaluate_tick(context)
        assert "TINKO_RETENTION_WEEKLY" in (told.skip_message or "")
        monkeypatch.setenv("TINKO_RETENTION_WEEKLY", "1")
        assert weekly_retention.evaluate_tick(context).run_requests
