"""The schedules: the steady beat, and the net below the sensors."""

from dagster import (
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


def _still_at_it(context: ScheduleEvaluationContext, job_name: str) -> bool:
    return bool(context.instance.get_runs(RunsFilter(job_name=job_name, statuses=ACTIVE), limit=1))


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
    if _still_at_it(context, retry_job.name):
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
    if _still_at_it(context, email_job.name):
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
    if _still_at_it(context, recovery_job.name):
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
    if _still_at_it(context, reconcile_job.name):
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
