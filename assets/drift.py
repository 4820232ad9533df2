"""Whether the world is still the one the models were trained in. Looks once a day; trains nothing."""

from dagster import MaterializeResult, MetadataValue, asset

from assets.ingest import OWNERS
from assets.models import training_set
from assets.recovery import recovery_cases
from resources import TinkoResource
from tinko_pipelines.model.drift import Bar

WIDTH = 20


def plot(bars: tuple[Bar, ...]) -> str:
    """Shares then and now as Markdown bars."""
    most = max((max(bar.before, bar.now) for bar in bars), default=0.0) or 1.0
    rows = [
        f"| {bar.name} | {bar.before:.3f} | {'░' * round(WIDTH * bar.before / most)} | {bar.now:.3f} | {'█' * round(WIDTH * bar.now / most)} |"
        for bar in bars
    ]
    return (
        "\n".join(["| | then | | now | |", "|---|---:|---|---:|---|", *rows]) if rows else "nothing to show"
    )


@asset(
    group_name="learn",
    kinds={"python"},
    owners=OWNERS,
    deps=[recovery_cases, training_set],
    description="The last four weeks held against those the timing model in use was trained in: features, chances, outcomes, words.",
)
def model_drift(tinko: TinkoResource) -> MaterializeResult:  # type: ignore[type-arg]
    """Look; what is out of bounds is a yellow check, and training anew where that helps."""
    found = tinko.app().watch_drift()
    told = "\n".join(
        f"- {'ok' if one.ok else '**look**'} {one.name}: {one.told} {one.advice}" for one in found
    )
    plots = {one.name.replace(" ", "_"): MetadataValue.md(plot(one.bars)) for one in found}
    return MaterializeResult(metadata={"found": MetadataValue.md(told), **plots})
