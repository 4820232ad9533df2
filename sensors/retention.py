"""Keeping no longer than wanted, each week where a setting asks for it; and Dagster's own runs, which only Dagster knows.

Ticks of schedules and sensors are purged by Dagster itself, as `dagster.yaml` says. The command line runs `main` in a
process of its own, since the domain knows no Dagster.
"""

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    MetadataValue,
    OpExecutionContext,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SkipReason,
    TableRecord,
    in_process_executor,
    job,
    op,
    schedule,
)

from resources import TinkoResource
from sensors.jobs import NO_RETRY_TAGS
from sensors.schedules import RUNNING, still_at_it
from tinko_pipelines.retention.freed import Freed
from tinko_pipelines.settings import load_settings

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
"""Runs of any other state may still be at work."""
AT_ONCE = 100
MOST_RUNS = 20_000
"""One run of the job removes so many; a backlog is worked off in some weeks."""


def purge_runs(
    instance: DagsterInstance, days: int, now: datetime, *, apply: bool, most: int = MOST_RUNS
) -> dict[str, int]:
    """Remove finished runs with their events and output that ended so many days ago, the oldest first.

    How many `rows` (runs) are due, how many were `left` to the next time, and the `files` and `size_bytes` of emptied files.
    """
    old = RunsFilter(statuses=FINISHED, updated_before=now - timedelta(days=days))
    rows, done = instance.get_runs_count(old), 0
    while apply and done < most:
        few = instance.get_run_records(old, limit=min(AT_ONCE, most - done), ascending=True)
        for record in few:
            run_id = record.dagster_run.run_id
            # The run itself goes last: while it is there, what is left of a killed purge is found again.
            instance.event_log_storage.delete_events(run_id)
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            instance.delete_run(run_id)
        done += len(few)
        if len(few) < AT_ONCE:
            break
    empty = _emptied(instance, now)
    freed = {"files": len(empty), "size_bytes": sum(path.stat().st_size for path in empty)}
    for path in empty if apply else ():
        path.unlink(missing_ok=True)
    return {"rows": rows, **freed, "left": rows - done if apply else 0}


def _emptied(instance: DagsterInstance, now: datetime) -> list[Path]:
    """On SQLite each run has a file for its events, which Dagster empties and leaves: those of runs that are gone.

    Only what nobody has touched for a day: a page of the UI may still have the file open.
    """
    before = (now - timedelta(days=1)).timestamp()
    folder = Path(instance.root_directory) / "history" / "runs"
    paths = [path for path in folder.glob("????????-*.db*") if path.stat().st_mtime < before]
    gone = {name: not instance.has_run(name) for name in {path.name.partition(".")[0] for path in paths}}
    return [path for path in paths if gone[path.name.partition(".")[0]]]


def _told(found: list[Freed]) -> MetadataValue[Any]:
    rows = [
        TableRecord(
            {"store": one.store, "by": one.setting, "files": one.files, "rows": one.rows,
             "MB": round(one.size_bytes / 1e6, 1), "left": one.left}
        )
        for one in found
    ]  # fmt: skip
    return MetadataValue.table(rows)


@op(description="Roll up and remove what the settings want kept no longer, then Dagster's own old runs.")
def keep_no_longer(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Do what `tinko retention --yes` does."""
    app = tinko.app()
    found = app.retention(apply=True)
    days = app.settings.retention_runs_days
    if days:
        told = purge_runs(context.instance, days, datetime.now(UTC), apply=True)
        setting = f"TINKO_RETENTION_RUNS_DAYS={days}"
        found.append(
            Freed(
                "dagster: runs", setting, rows=told["rows"], size_bytes=told["size_bytes"], left=told["left"]
            )
        )
    context.add_output_metadata({"freed": _told(found)})


@job(
    executor_def=in_process_executor,
    tags={**NO_RETRY_TAGS, "dagster/max_runtime": "3600"},
    description="Keep nothing longer than the settings want. Safe to start at any time, by anybody; what is cut short is gone on with.",
)
def retention_job() -> None:
    """One op, in process."""
    keep_no_longer()


@schedule(
    name="weekly_retention",
    job=retention_job,
    cron_schedule="30 2 * * 0",
    default_status=RUNNING,
    description="Each Sunday, where TINKO_RETENTION_WEEKLY asks for it: keep nothing longer than the settings want.",
)
def weekly_retention(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Start the job where a setting asks for it."""
    if not load_settings().retention_weekly:
        return SkipReason("TINKO_RETENTION_WEEKLY is not set")
    if still_at_it(context.instance, retention_job.name):
        return SkipReason("the last one is still at it")
    return RunRequest()


def main() -> None:
    """Look through the runs of the instance that `DAGSTER_HOME` names, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description="Remove finished runs of Dagster that are so many days old.")
    parser.add_argument("days", type=int)
    parser.add_argument("--yes", action="store_true")
    given = parser.parse_args()
    with DagsterInstance.get() as instance:
        found = purge_runs(instance, given.days, datetime.now(UTC), apply=given.yes)
    print(json.dumps(found))  # noqa: T201
