"""The model behind the rules, and the ledger made readable. Charging and mailing are jobs, not assets."""

from dagster import MaterializeResult, MetadataValue, asset

from resources import TinkoResource

OWNERS = ["team:payments"]


@asset(
    group_name="decide",
    kinds={"scikitlearn"},
    owners=OWNERS,
    description="The text model for messages no rule knows, trained on the shipped phrases, stored with its card.",
)
def text_model(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Train and store the model behind the rules."""
    return MaterializeResult(metadata={"card": MetadataValue.json(tinko.app().train())})


@asset(
    group_name="report",
    kinds={"parquet"},
    owners=OWNERS,
    description="Every ledger table as Parquet, read in one transaction, for dbt and the invariants.",
)
def ledger_export(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Make the ledger readable without touching it."""
    rows = tinko.app().export_ledger()
    return MaterializeResult(metadata={f"rows_{name}": count for name, count in rows.items()})
