"""From lake and ledger to what people read: dbt marts, the published snapshot, the report."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
    multi_asset,
)

from assets.dbt_models import UNIQUE_ID, model_specs, test_specs
from assets.ingest import OWNERS
from assets.recovery import bars
from resources import TinkoResource
from tinko_pipelines.reports.digest import Digest, Share


def cell(text: str) -> str:
    """Text that somebody else has named, as one cell of a Markdown table: nothing of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", text.replace("\n", " "))


def rates(shares: Iterable[Share]) -> MetadataValue:
    """Shares as a Markdown table with bars, each beside its denominator."""
    rows = [
        f"| {cell(one.name)} | {one.part:,} of {one.whole:,} | {one.rate or 0:.1%} | {'█' * round(20 * (one.rate or 0))} | {cell(one.note)} |"
        for one in shares
    ]
    return MetadataValue.md("\n".join(["| | recovered | rate | | |", "|---|---:|---:|---|---|", *rows]))


def _change(told: Digest) -> str:
    rows = [f"| {' | '.join(map(cell, row))} |" for row in told.changes]
    head = ["", "| rate | now | change | before |", "|---|---:|---:|---:|"] if rows else []
    return "\n".join([cell(told.compared), *head, *rows])


def report_assets(manifest: Mapping[str, Any]) -> list[AssetsDefinition]:
    """The marts of a parsed dbt project, and what is made of them."""

    @multi_asset(
        name="dbt_models",
        specs=model_specs(manifest),
        check_specs=test_specs(manifest),
        can_subset=True,
        pool="warehouse",
    )
    def dbt_models(
        context: AssetExecutionContext, tinko: TinkoResource
    ) -> Iterator[MaterializeResult | AssetCheckResult]:  # type: ignore[type-arg]
        """Build and test the whole project, telling of each model as it is done; a test that fails stops the snapshot."""
        wanted, held = context.selected_asset_keys, context.selected_asset_check_keys
        keys = {one.metadata[UNIQUE_ID]: one.key for one in context.assets_def.specs if one.key in wanted}
        checks = {
            one.metadata[UNIQUE_ID]: one
            for one in context.assets_def.check_specs
            if one.metadata and one.key in held
        }
        for node in tinko.app().building_marts():
            if node.status in ("skipped", "error"):
                # Not made, or not looked at; the build ends with the error that says why.
                continue
            if node.unique_id in keys:
                yield MaterializeResult(asset_key=keys[node.unique_id], metadata={"seconds": node.seconds})
            elif node.unique_id in checks:
                spec = checks[node.unique_id]
                yield AssetCheckResult(
                    check_name=spec.name, asset_key=spec.asset_key, passed=node.status in ("pass", "success")
                )

    marts = [spec.key for spec in dbt_models.specs if spec.key.path[0] == "marts"]

    @asset(
        group_name="report",
        kinds={"duckdb"},
        owners=OWNERS,
        deps=marts,
        pool="warehouse",
        description="The marts alone, read-only, swapped in whole: the file analysts open.",
    )
    def recovery_snapshot(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
        """Publish what dbt has built and tested."""
        app = tinko.app()
        path = app.publish_snapshot()
        found = app.summary()
        categories = Counter({str(row["category"]): int(row["failed_count"]) for row in found["by_category"]})
        return MaterializeResult(
            metadata={
                "path": MetadataValue.path(path),
                "failed": found["failed_count"],
                "recovered": found["recovered_count"],
                "recovery_rate": found["recovery_rate_count"],
                "by_currency": MetadataValue.json(json.loads(json.dumps(found["by_currency"], default=str))),
                "failed_by_category": bars(categories),
            }
        )

    @asset(
        group_name="report",
        kinds={"html"},
        owners=OWNERS,
        deps=[recovery_snapshot],
        description="The report for people, one file that opens anywhere.",
    )
    def recovery_report(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
        """Write the HTML report from the snapshot, and show its headline where the run is looked at."""
        app = tinko.app()
        path, told = app.write_report(), app.digest()
        return MaterializeResult(
            metadata={
                "path": MetadataValue.path(path),
                "headline": MetadataValue.md(
                    "\n\n".join((f"**{cell(told.headline)}**", *map(cell, told.sentences)))
                ),
                "by_month_of_failure": rates(told.months),
                "by_category": rates(told.categories),
                "change": MetadataValue.md(_change(told)),
            }
        )

    return [dbt_models, recovery_snapshot, recovery_report]
