"""The schedules: the steady beat, and the net below the sensors."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from resources import TinkoResource
from sensors.jobs import (
    drift_job,
    email_job,
    read_again_job,
    reconcile_job,
    recovery_job,
    report_job,
    report_mail_job,
    retrain_job,
    retry_job,
    timing_job,
)
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.settings import load_settings

ACTIVE = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
RUNNING = DefaultScheduleStatus.RUNNING


def no_key_reason() -> str | None:
    """Why nothing can be fetched or charged, or None when a key is set."""
    try:
        settings = load_settings()
        settings.guard()
        return None if settings.key else "no key"
    except SettingsError as error:
        return str(error)


def still_at_it(instance: DagsterInstance, job_name: str, within_seconds: float | None = None) -> bool:
    """Whether a run of the job is under way; with a time, only one begun so lately.

    The run of a worker that was killed may stay `STARTED` for many minutes, and nothing may wait for it: a run
    that drains or mails ends itself, and two at once do no harm.
    """
    since = None if within_seconds is None else datetime.now(UTC) - timedelta(seconds=within_seconds)
    active = RunsFilter(job_name=job_name, statuses=ACTIVE, created_after=since)
    return bool(instance.get_runs(active, limit=1))


def longest_run_seconds() -> float:
    """After so long a run that drains or mails has ended, or is dead."""
    settings = load_settings()
    return settings.drain_seconds + settings.drain_lease_seconds


def beat(
    name: str,
    job: Any,
    cron: str,
    busy: str,
    description: str,
    within_seconds: Callable[[], float] | None = None,
) -> ScheduleDefinition:
    """Start `job` at each beat, unless no key is set or a run of it is still at it (then it is said to be `busy`)."""

    @schedule(name=name, job=job, cron_schedule=cron, default_status=RUNNING, description=description)
    def look(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if reason := no_key_reason():
            return SkipReason(reason)
        if still_at_it(context.instance, job.name, within_seconds() if within_seconds else None):
            return SkipReason(busy)
        return RunRequest()

    return look


retry_net = beat(
    "retry_net",
    retry_job,
    "7,22,37,52 * * * *",
    "a drain is still at it",
    "The net below the retry sensor.",
    longest_run_seconds,
)

email_net = beat(
    "email_net",
    email_job,
    "11,26,41,56 * * * *",
    "a mail run is still at it",
    "The net below the mail sensor.",
    longest_run_seconds,
)

refresh = beat(
    "refresh",
    recovery_job,
    "*/15 * * * *",
    "the last refresh is still at it",
    "Every quarter of an hour: what changed at Stripe, which payments failed, what to do.",
)

reconcile_hourly = beat(
    "reconcile_hourly",
    reconcile_job,
    "19 * * * *",
    "the last reconciliation is still at it",
    "Every hour: does the ledger agree with Stripe.",
)

nightly_reading = beat(
    "nightly_reading",
    read_again_job,
    "10 0 * * *",
    "the last reading is still at it",
    "Each night, before the report: old days of the lake against fresh lists.",
)

nightly_report = ScheduleDefinition(
    name="nightly_report",
    job=report_job,
    cron_schedule="40 1 * * *",
    default_status=RUNNING,
    description="Each night: marts, snapshot, report, and every invariant.",
)


@schedule(
    name="weekly_report",
    job=report_mail_job,
    cron_schedule="33 * * * *",
    default_status=RUNNING,
    description="Once a week, from the day in the settings on: the report by mail. Each hour until all have it.",
)
def weekly_report(context: ScheduleEvaluationContext, tinko: TinkoResource) -> RunRequest | SkipReason:
    """Look who waits for it. An hour in which the mail server does not answer is followed by another."""
    app = tinko.app()
    waits = app.report_waits()
    if not waits:
        return SkipReason("nobody waits for the report")
    if not app.settings.mails_for_real:
        return SkipReason(f"{waits} wait for the report, but this is a dry run")
    if not app.settings.snapshot_path.exists():
        return SkipReason(f"{waits} wait for the report, but nothing was published yet")
    if still_at_it(context.instance, report_mail_job.name, longest_run_seconds()):
        return SkipReason(f"{waits} wait for the report; a run is still at it")
    return RunRequest()


weekly_retrain = ScheduleDefinition(
    name="weekly_retrain",
    job=retrain_job,
    cron_schedule="20 3 * * 1",
    default_status=RUNNING,
    description="Each Monday, the text model.",
)

weekly_timing = ScheduleDefinition(
    name="weekly_timing",
    job=timing_job,
    cron_schedule="50 3 * * 1",
    default_status=RUNNING,
    description="Each Monday, a candidate of the timing model; it is promoted by hand unless a setting says otherwise.",
)

daily_drift = beat(
    "daily_drift",
    drift_job,
    "50 4 * * *",
    "the last look is still at it",
    "Each day: is the world still the one the models were trained in.",
)

SCHEDULES = [
    refresh,
    retry_net,
    email_net,
    reconcile_hourly,
    nightly_reading,
    nightly_report,
    weekly_report,
    weekly_retrain,
    weekly_timing,
    daily_drift,
]
