"""The schedules: the steady beat, and the net below the sensors."""

from datetime import UTC, datetime, timedelta

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

from sensors.jobs import email_job, reconcile_job, recovery_job, report_job, retrain_job, retry_job
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


@schedule(
    job=retry_job,
    cron_schedule="7,22,37,52 * * * *",
    default_status=RUNNING,
    description="The net below the retry sensor.",
)
def retry_net(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Start a drain even if no sensor did."""
    if reason := no_key_reason():
        return SkipReason(reason)
    if still_at_it(context.instance, retry_job.name, longest_run_seconds()):
        return SkipReason("a drain is still at it")
    return RunRequest()


@schedule(
    job=email_job,
    cron_schedule="11,26,41,56 * * * *",
    default_status=RUNNING,
    description="The net below the mail sensor.",
)
def email_net(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Start a mail run even if no sensor did."""
    if reason := no_key_reason():
        return SkipReason(reason)
    if still_at_it(context.instance, email_job.name, longest_run_seconds()):
        return SkipReason("a mail run is still at it")
    return RunRequest()


@schedule(
    job=recovery_job,
    cron_schedule="*/15 * * * *",
    default_status=RUNNING,
    description="Every quarter of an hour: what changed at Stripe, which payments failed, what to do.",
)
def refresh(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Bring lake and cases up to date, one run at a time."""
    if reason := no_key_reason():
        return SkipReason(reason)
    if still_at_it(context.instance, recovery_job.name):
        return SkipReason("the last refresh is still at it")
    return RunRequest()


@schedule(
    job=reconcile_job,
    cron_schedule="19 * * * *",
    default_status=RUNNING,
    description="Every hour: does the ledger agree with Stripe.",
)
def reconcile_hourly(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """Compare, one run at a time."""
    if reason := no_key_reason():
        return SkipReason(reason)
    if still_at_it(context.instance, reconcile_job.name):
        return SkipReason("the last reconciliation is still at it")
    return RunRequest()


nightly_report = ScheduleDefinition(
    name="nightly_report",
    job=report_job,
    cron_schedule="40 1 * * *",
    default_status=RUNNING,
    description="Each night: marts, snapshot, report, and every invariant.",
)

weekly_retrain = ScheduleDefinition(
    name="weekly_retrain",
    job=retrain_job,
    cron_schedule="20 3 * * 1",
    default_status=RUNNING,
    description="Each Monday, the text model.",
)

SCHEDULES = [refresh, retry_net, email_net, reconcile_hourly, nightly_report, weekly_retrain]
