"""What an evaluation of a timing model says: the shape of `card["evaluation"]`, and how it is measured.

Losses are summed by group, a group being some customers, so that two models measured on the same attempts can be
compared pairwise, customers and all, without keeping a row of anybody. Judges nothing; that do the gates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

GROUPS = 200
SCORE_EDGES = tuple(number / 20 for number in range(21))
DRAWS = 1_000
SMALLEST_CHANCE = 1e-6

Numbers = NDArray[np.float64]


class Estimate(TypedDict):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Group(TypedDict):
    """Some customers: their attempts, the sum of the model's log loss over them, and of the base rate's."""

    rows: int
    loss: float
    base_loss: float


class Slice(TypedDict):
    """A category, a decile or a segment: what was predicted, what came in, and the mean log loss of both."""

    name: str
    rows: int
    predicted: float
    observed: float
    log_loss: float
    base_log_loss: float


class Holdout(TypedDict):
    """Which attempts it was measured on; equal fingerprints mean equal attempts in equal order."""

    sha256: str
    rows: int
    successes: int
    since: str | None
    until: str | None


class Evaluation(TypedDict):
    """`card["evaluation"]`. More may stand beside it; this much is what gates, drift and `compare` read."""

    holdout: Holdout
    base_rate: float
    log_loss: Estimate
    base_log_loss: float
    brier: Estimate
    auc: Estimate
    groups: list[Group]
    categories: list[Slice]
    deciles: list[Slice]
    segments: list[Slice]
    score_shares: list[float]


def measure(
    chances: Sequence[float] | Numbers,
    succeeded: Sequence[bool] | NDArray[np.bool_],
    *,
    customers: Sequence[str],
    categories: Sequence[str],
    segments: Mapping[str, Sequence[str]] | None = None,
    base_rate: float,
    since: str | None = None,
    until: str | None = None,
) -> Evaluation:
    """Hold chances against what came in. `base_rate` is that of the training window; `segments` are columns by name."""
    found = np.clip(np.asarray(chances, dtype=float), SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    came = np.asarray(succeeded, dtype=float)
    base = np.full(len(came), min(max(base_rate, SMALLEST_CHANCE), 1 - SMALLEST_CHANCE))
    loss, base_loss, brier = log_losses(found, came), log_losses(base, came), (found - came) ** 2
    group = np.array([_group(name) for name in customers], dtype=int)
    columns = (("rows", np.ones(len(came))), ("loss", loss), ("base_loss", base_loss), ("brier", brier))
    sums = {name: np.bincount(group, values, GROUPS).astype(float) for name, values in columns}
    number = np.minimum((_ranks(found) * 10 / max(1, len(found))).astype(int), 9)

    def slices(names: Sequence[str]) -> list[Slice]:
        return _slices(np.asarray(names, dtype=object), found, came, loss, base_loss)

    return {
        "holdout": {
            "sha256": _fingerprint(customers, came), "rows": len(came), "successes": int(came.sum()),
            "since": since, "until": until,
        },
        "base_rate": float(base_rate),
        "log_loss": _ratio(sums["loss"], sums["rows"]),
        "base_log_loss": float(base_loss.mean()),
        "brier": _ratio(sums["brier"], sums["rows"]),
        "auc": _auc_estimate(found, came, group),
        "groups": [
            {"rows": int(n), "loss": round(float(one), 6), "base_loss": round(float(other), 6)}
            for n, one, other in zip(sums["rows"], sums["loss"], sums["base_loss"], strict=True)
        ],
        "categories": slices(categories),
        "deciles": slices([f"{decile + 1:02d}" for decile in number]),
        "segments": [
            one for name, values in (segments or {}).items() for one in slices([f"{name} {value}" for value in values])
        ],
        "score_shares": (np.histogram(found, SCORE_EDGES)[0] / max(1, len(found))).round(6).tolist(),
    }  # fmt: skip


def log_losses(chances: Numbers, came: Numbers) -> Numbers:
    """The log loss of each attempt."""
    return np.asarray(-(came * np.log(chances) + (1 - came) * np.log1p(-chances)), dtype=float)


def draws(groups: int, count: int = DRAWS) -> NDArray[np.int64]:
    """How often each group is drawn, for each draw of a bootstrap; the same at every call."""
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=count)


def _group(customer: str) -> int:
    return int.from_bytes(hashlib.sha256(customer.encode()).digest()[:4], "big") % GROUPS


def _fingerprint(customers: Sequence[str], came: Numbers) -> str:
    told = hashlib.sha256()
    for customer, one in zip(customers, came, strict=True):
        told.update(f"{customer}:{int(one)}\n".encode())
    return told.hexdigest()


def _slices(names: Any, chances: Numbers, came: Numbers, loss: Numbers, base_loss: Numbers) -> list[Slice]:
    found: list[Slice] = []
    for name in sorted({str(each) for each in names}):
        of = names == name
        found.append(
            {
                "name": name,
                "rows": int(of.sum()),
                "predicted": float(chances[of].mean()),
                "observed": float(came[of].mean()),
                "log_loss": float(loss[of].mean()),
                "base_log_loss": float(base_loss[of].mean()),
            }
        )
    return found


def _ratio(sums: Numbers, rows: Numbers) -> Estimate:
    drawn = draws(len(rows))
    counts = drawn @ rows
    values = (drawn @ sums)[counts > 0] / counts[counts > 0]
    return _estimate(float(sums.sum() / max(1.0, rows.sum())), values)


def _estimate(value: float, drawn: Numbers) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (float("nan"), float("nan"))
    return {"value": value, "low": float(low), "high": float(high)}


def _auc_estimate(chances: Numbers, came: Numbers, group: NDArray[np.int64]) -> Estimate:
    """By drawing groups a hundred times; ranks are taken anew each time, ties shared."""
    of_group = [np.flatnonzero(group == number) for number in range(GROUPS)]
    values = []
    for drawn in draws(GROUPS, 100):
        rows = np.concatenate(
            [np.tile(of_group[number], times) for number, times in enumerate(drawn) if times]
        )
        values.append(_auc(chances[rows], came[rows]))
    known = np.array([value for value in values if not np.isnan(value)])
    return _estimate(_auc(chances, came), known)


def _auc(chances: Numbers, came: Numbers) -> float:
    won = float(came.sum())
    lost = len(came) - won
    if not won or not lost:
        return float("nan")
    return float((_ranks(chances)[came > 0].sum() + won * 0.5 - won * won / 2) / (won * lost))


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0, equal values sharing the mean of theirs."""
    order = np.sort(values)
    left, right = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return np.asarray((left + right - 1) / 2, dtype=float)
