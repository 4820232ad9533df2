"""Stripe's objects in the lake: whole days by partition, what has changed since, and old days held against new lists."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetObservation,
    AssetSpec,
    BackfillPolicy,
    DailyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    TableRecord,
    asset,
    multi_asset,
)

from resources import TinkoResource
from tinko_pipelines.lake.backfill import Left
from tinko_pipelines.lake.portion import IngestResult
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.standing import Standing

OWNERS = ["team:payments"]
DAYS = DailyPartitionsDefinition(start_date="2024-01-01", end_offset=1)
SAID_SECONDS = 10.0
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


def _say(context: AssetExecutionContext) -> Callable[[Left], None]:
    """Tell in the run's log and at the assets how far it is, every few seconds."""
    said_at = time.monotonic()

    def say(left: Left) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= SAID_SECONDS:
            said_at = time.monotonic()
            told = f"{left.account_id}: {left.covered:.0%} of the time read, {left.rows:,} objects on {left.pages:,} pages"
            context.log.info(f"{told}, {len(left.ranges)} ranges left, {left.workers} workers")
            where: dict[str, Any] = {"account": left.account_id, "read_share": left.covered, "objects": left.rows,
                     "ranges_left": len(left.ranges)}  # fmt: skip
            for key in context.selected_asset_keys:
                context.log_event(AssetObservation(key, metadata=where))

    return say


def _table(rows: Sequence[Mapping[str, Any]]) -> MetadataValue:
    return (
        MetadataValue.table([TableRecord(dict(row)) for row in rows]) if rows else MetadataValue.text("none")
    )


def _standing(found: Standing) -> dict[str, Any]:
    """For each account how fresh its data is; what is still to be read; what was set aside and why."""
    fresh = [
        {"account": one.account_id, "mode": one.mode, "fresh until": f"{one.fresh_until:%Y-%m-%d %H:%M} UTC",
         "minutes behind": round(one.behind_seconds / 60, 1)}
        for one in found.freshness
    ]  # fmt: skip
    left = [
        {"back-fill": one.name, "begun": f"{one.begun_at:%Y-%m-%d %H:%M} UTC", "read": f"{one.covered:.0%}",
         "ranges left": one.ranges_left, "objects": one.rows}
        for one in found.backfills
    ]  # fmt: skip
    bad = [
        {"account": one.account_id, "object": one.object_name, "why": one.reason, "count": one.count, "example": one.example}
        for one in found.set_aside
    ]  # fmt: skip
    behind = max((one.behind_seconds for one in found.freshness), default=0.0) / 60
    tables = {"freshness": _table(fresh), "open_backfills": _table(left), "quarantine": _table(bad)}
    return {"minutes_behind": behind, **tables}


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
    """Read the objects created in the days of the run; a run that was cut short goes on when it is started again."""
    window = context.partition_time_window
    names = [key.path[-1] for key in context.selected_asset_keys]
    results = tinko.app().ingest(names, since=window.start, until=window.end, progress=_say(context))
    for name, result in results.items():
        yield MaterializeResult(asset_key=name, metadata=_metadata(result))


@asset(
    group_name="ingest",
    kinds={"stripe", "parquet"},
    owners=OWNERS,
    pool="lake",
    description="What was created or changed at Stripe since the last look, brought into the tables of the lake.",
    check_specs=[
        AssetCheckSpec(
            "every_account_was_read",
            asset="stripe_changes",
            description="No account's key was refused, and Stripe answered; the other accounts have gone on.",
        )
    ],
)
def stripe_changes(context: AssetExecutionContext, tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Follow the events, and list what is new."""
    app = tinko.app()
    results, trouble = app.changes_of_each(progress=_say(context))
    if trouble is not None:
        context.log.error(str(trouble), exc_info=trouble)
    written = {f"written_{name}": result.written for name, result in results.items() if result.written}
    notices = [notice for result in results.values() for notice in result.notices]
    for notice in notices:
        context.log.warning(notice)
    return MaterializeResult(
        metadata={
            "rows_written": sum(result.written for result in results.values()),
            "quarantined": sum(result.quarantined for result in results.values()),
            **written,
            **({"notices": MetadataValue.md("\n".join(f"- {one}" for one in notices))} if notices else {}),
            **_standing(app.lake_standing()),
        },
        check_results=[
            AssetCheckResult(
                check_name="every_account_was_read",
                passed=trouble is None,
                severity=AssetCheckSeverity.ERROR,
                metadata={"trouble": str(trouble or "none")},
            )
        ],
    )


@asset(
    group_name="ingest",
    kinds={"stripe", "parquet"},
    owners=OWNERS,
    pool="lake",
    description="The days 1, 7, 35 and 120 days ago, read once more: what no event told is repaired and shown here.",
)
def days_read_again(context: AssetExecutionContext, tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Hold old days against new lists."""
    found = tinko.app().read_again(progress=_say(context))
    rows = [
        {"account": one.account_id, "day": one.day, "object": one.object_name, "before": one.before_count, "after": one.after_count,
         "sums": ", ".join(f"{name} {old} -> {new}" for name, (old, new) in one.sums.items())}
        for one in found.differences
    ]  # fmt: skip
    counts = {
        "read": found.read,
        "missing": found.missing,
        "changed": found.changed,
        "deleted": found.deleted,
    }
    return MaterializeResult(
        metadata={
            "days": ", ".join(found.days),
            **counts,
            "repaired": found.repaired,
            "differences": _table(rows),
        }
    )
