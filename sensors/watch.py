"""The sensors: each asks the ledger whether anything is due, and starts a run when so. No side effects."""

from collections.abc import Callable

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from resources import TinkoResource
from sensors.jobs import email_job, inbox_job, retry_job, timing_job
from sensors.schedules import longest_run_seconds, no_key_reason, still_at_it


def _decide(
    context: SensorEvaluationContext, job_name: str, due: int, what: str, for_real: Callable[[], bool]
) -> RunRequest | SkipReason:
    """Start a run when something is due, somebody may do it, and nobody is at it."""
    if due == 0:
        return SkipReason(f"no {what} due")
    if reason := no_key_reason():
        return SkipReason(f"{due} {what} due, but {reason}")
    if not for_real():
        return SkipReason(f"{due} {what} due, but this is a dry run")
    if still_at_it(context.instance, job_name, longest_run_seconds()):
        return SkipReason(f"{due} {what} due; a run is still at it")
    return RunRequest()


@sensor(
    job=retry_job,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts a drain when a retry, an unsettled attempt or a webhook is due.",
)
def due_retries(context: SensorEvaluationContext, tinko: TinkoResource) -> RunRequest | SkipReason:
    """Look at the ledger; no run key, since the ledger alone knows what was done."""
    app = tinko.app()
    due = app.due()
    count = due.retries + due.janitor + due.inbox
    return _decide(context, retry_job.name, count, "retries", lambda: app.settings.charges_for_real)


@sensor(
    job=email_job,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts a mail run when a message is due.",
)
def due_messages(context: SensorEvaluationContext, tinko: TinkoResource) -> RunRequest | SkipReason:
    """Look at the outbox; no run key, since the outbox alone knows what was sent."""
    app = tinko.app()
    count = app.due().messages
    return _decide(context, email_job.name, count, "messages", lambda: app.settings.mails_for_real)


@sensor(
    job=inbox_job,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="Takes in webhook events as they come. The refresh takes in what this leaves.",
)
def webhook_inbox(context: SensorEvaluationContext, tinko: TinkoResource) -> RunRequest | SkipReason:
    """Count what waits; no run key, since the ledger alone knows what the lake has."""
    return _decide(context, inbox_job.name, tinko.app().events_waiting(), "webhook events", lambda: True)


@sensor(
    job=timing_job,
    minimum_interval_seconds=3600,
    default_status=DefaultSensorStatus.RUNNING,
    description="Trains a candidate when the daily look finds that the model in use has drifted.",
)
def drifted(context: SensorEvaluationContext, tinko: TinkoResource) -> RunRequest | SkipReason:
    """Look at what was found; one training for one look, however it ends."""
    app = tinko.app()
    reason = app.drift_asks_for_training()
    if reason is None:
        return SkipReason("no drift, or a candidate was trained lately")
    if still_at_it(context.instance, timing_job.name):
        return SkipReason("a training is still at it")
    return RunRequest(run_key=f"drift-{app.drift_found()['at']}", tags={"tinko/drift": reason[:200]})


SENSORS = [due_retries, due_messages, webhook_inbox, drifted]
