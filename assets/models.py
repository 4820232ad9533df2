"""The training set and what is trained on it. A candidate changes nothing until a person takes it into use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagster import AssetExecutionContext, AssetKey, MaterializeResult, MetadataValue, TableRecord, asset

from assets.ingest import OWNERS, stripe_changes
from assets.recovery import recovery_cases, text_model
from resources import TinkoResource

PLOT_CELLS = 24


def calibration(rows: Sequence[Mapping[str, Any]]) -> MetadataValue:
    """Predicted beside observed success as bars in Markdown."""
    most = max((max(row["predicted"], row["observed"]) for row in rows), default=0.0) or 1.0
    told = [
        f"| {row['name']} | {row['attempts']} | {row['predicted']:.1%} | {'░' * round(PLOT_CELLS * row['predicted'] / most)} |"
        f" {row['observed']:.1%} ({row['low']:.1%} to {row['high']:.1%}) | {'█' * round(PLOT_CELLS * row['observed'] / most)} |"
        for row in rows
    ]
    return MetadataValue.md(
        "\n".join(["| | retries | predicted | | observed | |", "|---|---:|---:|---|---:|---|", *told])
    )


@asset(
    group_name="learn",
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
    deps=[AssetKey("charges"), AssetKey("invoice_payments"), stripe_changes, recovery_cases, text_model],
    pool="lake",
    description="Every attempt to take a payment, ours or not, with what was known before it.",
)
def training_set(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Gather what a timing model can learn from."""
    from tinko_pipelines.model.timing.training_set import summary

    table = tinko.app().training_set()
    return MaterializeResult(metadata={"dagster/row_count": table.num_rows, **summary(table)})


@asset(
    group_name="learn",
    kinds={"scikitlearn"},
    owners=OWNERS,
    deps=[training_set],
    output_required=False,
    description="A candidate of the model that predicts when a retry succeeds, judged by customer and time, with its card.",
)
def recovery_model(context: AssetExecutionContext, tinko: TinkoResource) -> Iterator[MaterializeResult]:  # type: ignore[type-arg]
    """Train a candidate. What cannot be learned from fails the run; a shop with few retries is only told so."""
    from tinko_pipelines.model.timing.recovery import TooFewRetriesError

    app = tinko.app()
    try:
        made = app.train_timing(by="dagster", reason="trained by its job")
    except TooFewRetriesError as error:
        context.log.warning(f"no candidate is trained, the ladder times retries alone: {error}")
        return
    card = app.registry.card(made.version)
    found = card["evaluation"]
    metrics = [
        TableRecord({"metric": name, **one, "better than the base rate by": found["gain"][name]["value"]})
        for name, one in found["metrics"]["model"].items()
    ]
    goes_by = [
        TableRecord({"feature": row["name"], "importance": row["importance"]}) for row in card["features"]
    ]
    yield MaterializeResult(
        metadata={
            "version": made.version.id,
            "sha256": card["sha256"],
            "in_use": made.promoted,
            "gates": MetadataValue.md(
                "\n".join(
                    f"- {'ok' if gate.passed else '**shut**'} {gate.name}: {gate.told}"
                    for gate in made.judgement.gates
                )
            ),
            **{f"retries_{name}": card["rows"][name] for name in ("learned", "judged")},
            "metrics": MetadataValue.table(metrics),
            "calibration_by_decile": calibration(found["by_decile"]),
            "calibration_by_category": calibration(found["by_category"]),
            "importances": MetadataValue.table(goes_by),
            "card": MetadataValue.path(app.registry.page_path(made.version)),
        }
    )
