"""From charges to planned cases. Charging and mailing are jobs, not assets: they depend on the hour, not on data."""

from collections import Counter
from typing import Any

from dagster import AssetKey, MaterializeResult, MetadataValue, asset

from assets.ingest import OWNERS, stripe_changes
from resources import TinkoResource
from tinko_pipelines.lake.schemas import OBJECTS

READ_BY_FAILED_PAYMENTS = [AssetKey(name) for name in OBJECTS if name not in ("prices", "events", "refunds")]


def bars(counts: Counter[str]) -> MetadataValue:
    """A small bar chart as Markdown."""
    most = max(counts.values(), default=1)
    rows = [f"| {name} | {n} | {'█' * max(1, round(20 * n / most))} |" for name, n in counts.most_common(20)]
    return MetadataValue.md("\n".join(["| | | |", "|---|---:|---|", *rows]))


@asset(
    group_name="classify",
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
    deps=[*READ_BY_FAILED_PAYMENTS, stripe_changes],
    pool="lake",
    description="One row per debt whose first charge failed, with what Stripe shows of it now.",
)
def failed_payments(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Find the debts that failed."""
    table = tinko.app().failed_payments()
    statuses = Counter(str(status) for status in table["status"].to_pylist())
    share_paid = statuses["paid"] / table.num_rows if table.num_rows else 0.0
    return MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "paid_since_share": share_paid,
            "by_status": bars(statuses),
        }
    )


@asset(
    group_name="classify",
    kinds={"scikitlearn"},
    owners=OWNERS,
    description="The text model for messages no rule knows, trained on the shipped phrases, stored with its card.",
)
def text_model(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Train and store the model behind the rules."""
    return MaterializeResult(metadata={"card": MetadataValue.json(tinko.app().train())})


@asset(
    group_name="classify",
    kinds={"python", "parquet"},
    owners=OWNERS,
    deps=[failed_payments, text_model],
    pool="lake",
    description="Each failed payment with its category, whose move it is, and why: rules first, then the text model.",
)
def verdicts(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Classify every failed payment."""
    table = tinko.app().verdicts()
    sources: dict[str, Any] = dict(Counter(str(source) for source in table["source"].to_pylist()))
    return MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "by_category": bars(Counter(str(category) for category in table["category"].to_pylist())),
            "by_source": MetadataValue.json(sources),
        }
    )


@asset(
    group_name="plan",
    kinds={"sqlalchemy"},
    owners=OWNERS,
    deps=[verdicts],
    description="The ledger's cases: opened with a plan for each new debt, replanned or closed as Stripe changes.",
)
def recovery_cases(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Enrol the verdicts; charges nothing and mails nobody."""
    result = tinko.app().enrol()
    notices = {"notices": MetadataValue.md("\n".join(f"- {one}" for one in result.notices))}
    return MaterializeResult(metadata={**result.counts(), **(notices if result.notices else {})})


@asset(
    group_name="plan",
    kinds={"sqlalchemy", "stripe"},
    owners=OWNERS,
    deps=[recovery_cases],
    description="The ledger held against Stripe by a way of its own, with a key that may only read.",
)
def reconciliation(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Compare; a disagreement about money stops charging until a person resumes it."""
    found = tinko.app().reconcile()
    return MaterializeResult(metadata={**found.counts(), "agreed": found.agreed})


@asset(
    group_name="report",
    kinds={"parquet"},
    owners=OWNERS,
    deps=[recovery_cases],
    pool="warehouse",
    description="Every ledger table as Parquet, read in one transaction, for dbt and the invariants.",
)
def ledger_export(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Make the ledger readable without touching it."""
    rows = tinko.app().export_ledger()
    return MaterializeResult(metadata={f"rows_{name}": count for name, count in rows.items()})
