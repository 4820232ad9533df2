"""Whether the world is still the one a model was trained in: pure functions of what was then and what is now.

Each finding says what it saw, whether that is still within bounds, and what a person does about it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from tinko_pipelines.model.evaluation import SCORE_EDGES, Evaluation

PSI_BOUND = 0.25
ROWS_LEAST = 200
CALIBRATION_BOUND = 0.05
UNKNOWN_BOUND = 0.10
UNKNOWN_RISE = 0.05
NEW_LEAST = 5
BINS = 10
NAMES_MOST = 20
FEATURES = (
    "amount_minor", "attempt_number", "category", "decline_code", "card_brand", "card_country", "card_funding",
    "currency", "hour_of_day",
)  # fmt: skip
"""What of an attempt is watched; `hour_of_day` is made from its moment."""
TRAIN_AGAIN = "train a candidate and compare it: `tinko model train`"


class Spread(TypedDict):
    """How one column was spread: bins by their inner edges, or names, with a share each; the last name is any other."""

    edges: list[float]
    names: list[str]
    shares: list[float]


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a plot: the share then and now."""

    name: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. `retrain` says that training anew is what helps."""

    name: str
    ok: bool
    told: str
    advice: str = ""
    bars: tuple[Bar, ...] = ()
    retrain: bool = False


def profile(attempts: pa.Table, columns: Iterable[str] = FEATURES) -> dict[str, Spread]:
    """How these columns are spread in a table of attempts; columns that it does not have are left out."""
    found = {name: _values(attempts, name) for name in columns}
    return {name: _spread(values) for name, values in found.items() if values}


def psi(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index of two lists of shares: 0 when equal; above 0.25 is called a shift."""
    return float(
        sum((b - a) * math.log(b / a) for a, b in ((max(x, 1e-4), max(y, 1e-4)) for x, y in zip(before, now, strict=True)))
    )  # fmt: skip


def features_shifted(trained: Mapping[str, Spread], recent: pa.Table) -> Finding:
    """Whether attempts look as they did in training."""
    name = "features"
    if recent.num_rows < ROWS_LEAST:
        return _too_few(name, recent.num_rows)
    spreads = [(column, then, _shares(then, _values(recent, column))) for column, then in trained.items()]
    shifts = sorted(
        ((psi(then["shares"], now), column, then, now) for column, then, now in spreads if now),
        key=lambda one: (-one[0], one[1]),
    )
    shifted = [(value, column) for value, column, _, _ in shifts if value > PSI_BOUND]
    bars: tuple[Bar, ...] = ()
    if shifts:
        _, column, then, now = shifts[0]
        labels = [f"{column} {label}" for label in _labels(then)]
        bars = tuple(map(Bar, labels, then["shares"], now))
    seen = ", ".join(f"{column} {value:.2f}" for value, column, _, _ in shifts[:5])
    if not shifted:
        return Finding(name, True, f"PSI by feature is at most {PSI_BOUND}: {seen}", bars=bars)
    told = "these are spread otherwise than in training (PSI): " + ", ".join(
        f"{c} {v:.2f}" for v, c in shifted
    )
    return Finding(
        name,
        False,
        told,
        f"see whether a new product, country or processor explains it, then {TRAIN_AGAIN}",
        bars,
        True,
    )


def scores_shifted(trained: Evaluation, recent: Evaluation) -> Finding:
    """Whether the model gives the chances it gave on its holdout."""
    name, rows = "scores", recent["attempts"]
    if rows < ROWS_LEAST:
        return _too_few(name, rows)
    before, now = trained["score_shares"], recent["score_shares"]
    value = psi(before, now)
    labels = [f"{low:.2f}-{high:.2f}" for low, high in pairwise(SCORE_EDGES)]
    bars = tuple(
        Bar(label, a, b) for label, a, b in zip(labels, before, now, strict=True) if max(a, b) >= 0.005
    )
    ok = value <= PSI_BOUND
    told = f"PSI of the chances is {value:.2f} over {rows:,} attempts; {PSI_BOUND} is the bound"
    return Finding(
        name, ok, told, "" if ok else f"look which feature moved, then {TRAIN_AGAIN}", bars, not ok
    )


def calibration_shifted(recent: Evaluation) -> Finding:
    """Whether what was predicted came in, for attempts whose outcome is known."""
    name, rows = "calibration", recent["attempts"]
    if rows < ROWS_LEAST:
        return _too_few(name, rows)
    slices = [one for one in recent["by_category"] if one["attempts"] >= ROWS_LEAST]
    off = []
    for one in slices:
        noise = 2.58 * math.sqrt(one["predicted"] * (1 - one["predicted"]) / one["attempts"])
        gap = one["observed"] - one["predicted"]
        if abs(gap) > max(CALIBRATION_BOUND, noise):
            off.append(f"{one['name']} {gap:+.3f}")
    bars = tuple(Bar(str(one["name"]), one["predicted"], one["observed"]) for one in slices)
    if not off:
        return Finding(name, True, f"what was predicted came in, over {rows:,} attempts", bars=bars)
    told = "came in otherwise than predicted: " + ", ".join(off)
    return Finding(
        name, False, told, f"{TRAIN_AGAIN}; until then `tinko model rollback` plans without it", bars, True
    )


def unknown_share(verdicts: pa.Table, now: datetime, days: float) -> Finding:
    """Whether more refusals than before are understood by no rule and no model."""
    before, recent = _parted(verdicts, now, days)
    shares = [
        sum(row["category"] == "unknown" for row in rows) / len(rows) if rows else 0.0
        for rows in (before, recent)
    ]
    bars = (Bar("unknown", *shares),)
    told = f"{shares[1]:.1%} of {len(recent):,} failed payments in {days:g} days are unknown, before {shares[0]:.1%}"
    ok = len(recent) < NEW_LEAST or (
        shares[1] <= UNKNOWN_BOUND and (not before or shares[1] - shares[0] <= UNKNOWN_RISE)
    )
    advice = (
        "name what the new codes and texts mean, see `tinko classify --help`, and train the text model again"
    )
    return Finding("unknown verdicts", ok, told, "" if ok else advice, bars)


def new_words(verdicts: pa.Table, now: datetime, days: float) -> Finding:
    """Codes and texts that came up in the last days and never before, each often enough to be no slip."""
    before, recent = _parted(verdicts, now, days)
    known = {word for row in before for word in _words(row)}
    counts = Counter(word for row in recent for word in _words(row) if word not in known)
    new = [(word, n) for word, n in counts.most_common(NAMES_MOST) if n >= NEW_LEAST] if before else []
    bars = tuple(Bar(word, 0.0, n / len(recent)) for word, n in new)
    if not new:
        return Finding(
            "new codes and texts", True, f"nothing new in {len(recent):,} failed payments", bars=bars
        )
    told = "new in the last {:g} days: {}".format(days, ", ".join(f"{word} ({n})" for word, n in new))
    advice = "see by `tinko classify` what becomes of them; where that is wrong, give them a rule"
    return Finding("new codes and texts", False, told, advice, bars)


def _parted(
    verdicts: pa.Table, now: datetime, days: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    columns = [
        name
        for name in ("last_failed_at", "category", "code", "failure_message")
        if name in verdicts.column_names
    ]
    rows = verdicts.select(columns).to_pylist()
    since = now - timedelta(days=days)
    return [row for row in rows if row["last_failed_at"] < since], [
        row for row in rows if row["last_failed_at"] >= since
    ]


def _words(row: Mapping[str, Any]) -> list[str]:
    """The code and the text of a refusal; numbers and addresses in a text are left out, they may name somebody."""
    text = re.sub(r"\S*[\d@]\S*", "#", str(row.get("failure_message") or "")).strip().lower()[:80]
    code = str(row.get("code") or "").strip().lower()[:80]
    return [f"{kind} {word}" for kind, word in (("code", code), ("text", text)) if word]


def _too_few(name: str, rows: int) -> Finding:
    return Finding(name, True, f"{rows:,} attempts are too few to tell; {ROWS_LEAST} are the least")


def _values(attempts: pa.Table, name: str) -> list[Any]:
    if name == "hour_of_day" and "attempted_at" in attempts.column_names:
        return [float(moment.hour) for moment in attempts["attempted_at"].to_pylist()]
    if name not in attempts.column_names:
        return []
    return [value for value in attempts[name].to_pylist() if value is not None]


def _spread(values: Sequence[Any]) -> Spread:
    if isinstance(values[0], str):
        names = [name for name, _ in Counter(values).most_common(NAMES_MOST)]
        made: Spread = {"edges": [], "names": [*names, "other"], "shares": []}
    else:
        edges = np.unique(np.quantile(np.asarray(values, dtype=float), np.arange(1, BINS) / BINS))
        made = {"edges": [float(edge) for edge in edges], "names": [], "shares": []}
    return {**made, "shares": _shares(made, values)}


def _shares(spread: Spread, values: Sequence[Any]) -> list[float]:
    if not values:
        return []
    if spread["names"]:
        place = {name: number for number, name in enumerate(spread["names"])}
        bins = [place.get(str(value), len(place) - 1) for value in values]
        size = len(place)
    else:
        bins = np.searchsorted(spread["edges"], np.asarray(values, dtype=float), "right").tolist()
        size = len(spread["edges"]) + 1
    counts = np.bincount(bins, minlength=size)
    return [round(float(share), 6) for share in counts / counts.sum()]


def _labels(spread: Spread) -> list[str]:
    if spread["names"]:
        return spread["names"]
    edges = [f"{edge:g}" for edge in spread["edges"]]
    return [f"below {edges[0]}", *(f"from {edge}" for edge in edges)] if edges else ["any"]
