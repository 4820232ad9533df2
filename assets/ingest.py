"""Stripe's objects in the lake: whole days by partition, and what has changed since the last look."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetSpec,
    BackfillPolicy,
    DailyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
    multi_asset,
)

from resources import TinkoResource
from tinko_pipelines.lake.ingest import IngestResult
from tinko_pipelines.lake.schemas import OBJECTS

OWNERS = ["team:payments"]
DAYS = DailyPartitionsDefinition(start_date="2024-01-01", end_offset=1)
WHAT = {
    "charges": "Every try to take money, with what network and issuer said.",
    "payment_intents": "What is to be paid outside billing, and where it stands.",
    "invoices": "What subscriptions owe, and when Stripe itself tries again.",
    "invoice_payments": "Which intent or charge pays which invoice.",
    "customers": "Whose debts they are; no names and no addresses.",
    "payment_methods": "Cards on file. Stripe's list has no dates, so each partition reads it whole.",
    "subscriptions": "What invoices come from, and whether it is still alive.",
    "prices": "What subscriptions cost.",
    "refunds": "Money given back.",
    "disputes": "Money taken back.",
    "balance_transactions": "What each payment left after fees.",
    "checkout_sessions": "Payment pages we or others opened.",
    "events": "What happened and when; Stripe keeps them for 30 days.",
}


def _metadata(result: IngestResult) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in result.counts().items() if name != "notices"}
    found["dagster/row_count"] = result.read
    if result.notices:
        found["notices"] = MetadataValue.md("\n".join(f"- {notice}" for notice in result.notices))
    return found


@multi_asset(
    specs=[
        AssetSpec(
            name,
            group_name="ingest",
            kinds={"stripe", "parquet"},
            owners=OWNERS,
            description=WHAT[name],
            partitions_def=DAYS,
        )
        for name in OBJECTS
    ],
    can_subset=True,
    backfill_policy=BackfillPolicy.single_run(),
    pool="lake",
)
def stripe_objects(context: AssetExecutionContext, tinko: TinkoResource) -> Iterator[MaterializeResult]:  # type: ignore[type-arg]
    """Read the objects created in the days of the run; a day read twice changes nothing."""
    window = context.partition_time_window
    names = [key.path[-1] for key in context.selected_asset_keys]
    results = tinko.app().ingest(names, since=window.start, until=window.end)
    for name, result in results.items():
        yield MaterializeResult(asset_key=name, metadata=_metadata(result))


@asset(
    group_name="ingest",
    kinds={"stripe", "parquet"},
    owners=OWNERS,
    pool="lake",
    description="What was created or changed at Stripe since the last look, brought into the tables of the lake.",
)
def stripe_changes(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Follow the events, and list what is new."""
    results: Mapping[str, IngestResult] = tinko.app().ingest_changes()
    written = {f"written_{name}": result.written for name, result in results.items() if result.written}
    return MaterializeResult(
        metadata={
            "rows_written": sum(result.written for result in results.values()),
            "quarantined": sum(result.quarantined for result in results.values()),
            **written,
        }
    )
