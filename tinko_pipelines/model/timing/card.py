"""The model card as one HTML page with no script: what the model learned from, how good it is, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

SIZE, EDGE = 320, 40
METRICS = (
    ("auc", "AUC", "The chance that a success scores higher than a failure; 0.5 is a coin."),
    ("log_loss", "Log loss", "Less is better."),
    ("brier", "Brier score", "Mean squared error of the probability; less is better."),
    (
        "lift_top_decile",
        "Lift of the top tenth",
        "Successes in the tenth that scores highest, as a multiple of all.",
    ),
)


def as_html(card: Mapping[str, Any]) -> str:
    """The card as a page that opens anywhere, with no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tinko_pipelines.model.timing"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = card["evaluation"]
    most = max((row["importance"] for row in card["features"]), default=0.0)
    return environment.get_template("card.html.j2").render(
        card=card,
        found=found,
        metrics=METRICS,
        plot=reliability(found["by_decile"]),
        most=max(most, 1e-12),
    )


def reliability(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Predicted against observed success by tenth of the scores, with intervals, as inline SVG; on the line is right."""
    top = 1.05 * float(max([0.05, *(max(row["high"], row["predicted"]) for row in rows)]))
    reach = SIZE - 2 * EDGE

    def x(value: float) -> float:
        return EDGE + reach * value / top

    def y(value: float) -> float:
        return SIZE - EDGE - reach * value / top

    made = [f'<line class="grid" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(top):.1f}" y2="{y(top):.1f}"/>']
    for part in range(5):
        at = top * part / 4
        made.append(f'<text x="{x(at):.1f}" y="{SIZE - EDGE + 16}" text-anchor="middle">{at:.0%}</text>')
        made.append(f'<text x="{EDGE - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{at:.0%}</text>')
    for row in rows:
        told = f"predicted {row['predicted']:.1%}, observed {row['observed']:.1%} of {row['attempts']}"
        at = x(row["predicted"])
        made.append(
            f'<line class="bar" x1="{at:.1f}" x2="{at:.1f}" y1="{y(row["low"]):.1f}" y2="{y(row["high"]):.1f}"/>'
            f'<circle cx="{at:.1f}" cy="{y(row["observed"]):.1f}" r="4"><title>{escape(told)}</title></circle>'
        )
    made.append(f'<text x="{SIZE / 2}" y="{SIZE - 4}" text-anchor="middle">predicted</text>')
    made.append(
        f'<text transform="rotate(-90 10 {SIZE / 2})" x="10" y="{SIZE / 2}" text-anchor="middle">observed</text>'
    )
    alt = "; ".join(f"{row['predicted']:.0%} came in at {row['observed']:.0%}" for row in rows)
    return Markup(  # noqa: S704 - numbers, and escaped text
        f'<svg class="reliability" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(made)}</svg>"
    )
