"""The jobs. Charging and mailing take no configuration: what to do is in the ledger, never in a run."""

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

from assets.recovery import ledger_export, text_model
from resources import TinkoResource

NO_RETRY_TAGS = {"dagster/max_retries": "0"}
"""A run that charges or mails is never repeated by Dagster; the ledger knows what is left to do."""

retrain_job = define_asset_job(
    "retrain_job",
    selection=AssetSelection.assets(text_model),
    executor_def=in_process_executor,
    description="Train the text model anew.",
)

export_job = define_asset_job(
    "export_job",
    selection=AssetSelection.assets(ledger_export),
    executor_def=in_process_executor,
    description="Write the ledger to Parquet.",
)


@op(description="Webhook inbox, unsettled attempts, then every retry that is due.")
def drain_retries(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Charge what the ledger says is due; ends itself."""
    result = tinko.app().drain(owner=f"run:{context.run_id}")
    context.add_output_metadata({"result": MetadataValue.json(result.counts())})


@op(description="Every recovery mail that is due, each at most once.")
def send_messages(context: OpExecutionContext, tinko: TinkoResource) -> None:
    """Mail what the ledger says is due; ends itself."""
    result = tinko.app().send_mail(owner=f"run:{context.run_id}")
    context.add_output_metadata({"result": MetadataValue.json(result.counts())})


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


ASSET_JOBS = [retrain_job, export_job]
OP_JOBS: list[JobDefinition] = [retry_job, email_job]
JOBS: list[Any] = [*ASSET_JOBS, *OP_JOBS]
