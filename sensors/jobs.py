"""The jobs. Charging and mailing take no configuration: what to do is in the ledger, never in a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import (
    AssetSelection,
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    define_asset_job,
    in_process_executor,
    job,
    op,
)

from assets.drift import model_drift
from assets.ingest import days_read_again, stripe_changes, stripe_objects
from assets.models import recovery_model, training_set
from assets.recovery import (
    failed_payments,
    ledger_export,
    reconciliation,
    recovery_cases,
    text_model,
    verdicts,
)
from resources import TinkoResource
from tinko_pipelines.ledger.control import Pause

NO_RETRY_TAGS = {"dagster/max_retries": "0"}
"""A run that charges or mails is never repeated by Dagster; the ledger knows what is left to do."""

ingest_job = define_asset_job(
    "ingest_job",
    selection=AssetSelection.assets(stripe_objects),
    executor_def=in_process_executor,
    description="Read whole days of Stripe objects; for first loads and back-fills.",
)

recovery_job = define_asset_job(
    "recovery_job",
    selection=AssetSelection.assets(stripe_changes, failed_payments, verdicts, recovery_cases),
    executor_def=in_process_executor,
    description="What has changed at Stripe, which payments failed, whose move it is, which cases to open or close.",
)

retrain_job = define_asset_job(
    "retrain_job",
    selection=AssetSelection.assets(text_model),
    executor_def=in_process_executor,
    description="Train the text model anew.",
)

drift_job = define_asset_job(
    "drift_job",
    selection=AssetSelection.assets(training_set, model_drift),
    executor_def=in_process_executor,
    tags={"dagster/max_runtime": "3600"},
    description="Gather what was tried since, and hold the last four weeks against those the timing model in use was trained in.",
)

timing_job = define_asset_job(
    "timing_job",
    selection=AssetSelection.assets(training_set, recovery_model),
    executor_def=in_process_executor,
    tags={"dagster/max_runtime": "3600"},
    description="Gather every attempt with what was known before it, and train a candidate of the recovery model.",
)

report_job = define_asset_job(
    "report_job",
    selection=AssetSelection.assets(ledger_export) | AssetSelection.groups("report"),
    executor_def=in_process_executor,
    description="Export the ledger, build and test the marts, publish snapshot and report, check every invariant.",
)


read_again_job = define_asset_job(
    "read_again_job",
    selection=AssetSelection.assets(days_read_again),
    executor_def=in_process_executor,
    tags={"dagster/max_runtime": "7200"},
    description="Hold the days 1, 7, 35 and 120 days ago against fresh lists, and repair what differs.",
)

reconcile_job = define_asset_job(
    "reconcile_job",
    selection=AssetSelection.assets(reconciliation),
    executor_def=in_process_executor,
    tags={"dagster/max_runtime": "3600"},
    description="Hold the ledger against Stripe: what is new, and the last 35 days once a day.",
)


def _told(counts: Mapping[str, int], pauses: Sequence[Pause]) -> dict[str, MetadataValue]:
    """What a run did, and what keeps it from doing more."""
    paused = {"paused": MetadataValue.md("\n".join(f"- {pause}" for pause in pauses))} if pauses else {}
    return {"result": MetadataValue.json(dict(counts)), **paused}


@op(description="Webhook inbox, unsettled attempts, then every retry that is due.")
def drain_retries(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Charge what the ledger says is due; ends itself."""
    app = tinko.app()
    result = app.drain(owner=f"run:{context.run_id}")
    context.add_output_metadata(_told(result.counts(), app.pauses()))


@op(description="Every recovery mail that is due, each at most once.")
def send_messages(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Mail what the ledger says is due; ends itself."""
    app = tinko.app()
    result = app.send_mail(owner=f"run:{context.run_id}")
    context.add_output_metadata(_told(result.counts(), app.pauses()))


@job(
    executor_def=in_process_executor,
    tags={**NO_RETRY_TAGS, "dagster/max_runtime": "300"},
    description="Charge every retry that is due. Safe to start at any time, by anybody, twice.",
)
def retry_job() -> None:
    """One op, in process."""
    drain_retries()


@job(
    executor_def=in_process_executor,
    tags={**NO_RETRY_TAGS, "dagster/max_runtime": "300"},
    description="Send every recovery mail that is due. Safe to start at any time, by anybody, twice.",
)
def email_job() -> None:
    """One op, in process."""
    send_messages()


@op(description="Mark the cases that webhook events touch, and bring into the lake what they tell of.")
def empty_inbox(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Take in what the webhook inbox holds, and what comes in meanwhile; ends itself."""
    done = tinko.app().attend_inbox()
    for reason in sorted(done.reasons):
        context.log.warning(reason)
    context.add_output_metadata(_told(done.counts(), ()))


@job(
    executor_def=in_process_executor,
    # It takes seconds and is what somebody waits for, so it starts before what takes long.
    tags={**NO_RETRY_TAGS, "dagster/max_runtime": "300", "dagster/priority": "10"},
    description="Take in the webhook events that wait. Safe to start at any time, by anybody, twice.",
)
def inbox_job() -> None:
    """One op, in process, and in no pool: a back-fill may be at work for hours beside it."""
    empty_inbox()


@op(description="The report to everybody who has not had this week's.")
def send_report(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Mail the report; who has it is written down beside it, not in a run."""
    context.add_output_metadata({"result": MetadataValue.json(tinko.app().mail_report().counts())})


@job(
    executor_def=in_process_executor,
    tags={**NO_RETRY_TAGS, "dagster/max_runtime": "900"},
    description="Mail the report. Safe to start at any time, by anybody, twice: nobody gets it again in the same week.",
)
def report_mail_job() -> None:
    """One op, in process."""
    send_report()


ASSET_JOBS = [
    ingest_job,
    read_again_job,
    recovery_job,
    retrain_job,
    timing_job,
    drift_job,
    report_job,
    reconcile_job,
]
OP_JOBS: list[JobDefinition] = [retry_job, email_job, inbox_job, report_mail_job]
JOBS: list[Any] = [*ASSET_JOBS, *OP_JOBS]
