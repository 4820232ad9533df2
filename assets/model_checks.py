"""Asset checks of the timing model: usable, and still in the world it was trained in. All yellow; the ladder plans on."""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    asset_check,
    multi_asset_check,
)

from assets.drift import model_drift, plot
from assets.recovery import recovery_cases
from resources import TinkoResource
from tinko_pipelines.model.drift import Bar

DRIFT = {
    "features_are_as_in_training": ("features", "Attempts look as they did in training."),
    "chances_are_as_in_training": ("scores", "The model gives the chances it gave on its holdout."),
    "chances_come_in": ("calibration", "What the model predicted of attempts came in."),
    "verdicts_are_known": ("unknown verdicts", "No more refusals than before are understood by nobody."),
    "words_are_known": ("new codes and texts", "No code or text of a refusal is new."),
}
"""Each check with the finding it shows."""


@asset_check(
    asset=recovery_cases, description="The timing model in use can be used; else the ladder plans alone."
)
def timing_model_is_usable(tinko: TinkoResource) -> AssetCheckResult:
    """Yellow when the last plan had to do without the model that is promoted."""
    app = tinko.app()
    trouble = app.timing_trouble()
    advice = "see `tinko model list`; `tinko model rollback --reason …` goes back to the version before"
    told = "\n".join(f"- {one}" for one in (*trouble, advice)) if trouble else "nothing"
    return AssetCheckResult(
        passed=not trouble,
        severity=AssetCheckSeverity.WARN,
        metadata={"trouble": MetadataValue.md(told), "promoted": app.model_in_use() or "none"},
    )


@multi_asset_check(
    specs=[AssetCheckSpec(name, asset=model_drift, description=told) for name, (_, told) in DRIFT.items()]
)
def drift_checks(tinko: TinkoResource) -> Iterator[AssetCheckResult]:
    """What the last look at drift found, each with a plot and what to do."""
    findings = {one["name"]: one for one in tinko.app().drift_found().get("findings", [])}
    for name, (finding, _) in DRIFT.items():
        found = findings.get(finding)
        told: dict[str, MetadataValue]
        if found is None:
            told = {"found": MetadataValue.text("no timing model is in use, so there is nothing to compare")}
        else:
            bars = tuple(Bar(**bar) for bar in found["bars"])
            told = {
                "found": MetadataValue.text(found["told"]),
                "what_to_do": MetadataValue.text(found["advice"] or "nothing"),
                "plot": MetadataValue.md(plot(bars)),
            }
        yield AssetCheckResult(
            check_name=name,
            asset_key=model_drift.key,
            passed=found is None or bool(found["ok"]),
            severity=AssetCheckSeverity.WARN,
            metadata=told,
        )


MODEL_CHECKS = [timing_model_is_usable, drift_checks]
