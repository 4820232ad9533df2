"""What an evaluation of a timing model says: the shape of `card["evaluation"]`, and the parts gates and drift read.

Losses are summed by group, a group being some customers, so that two models measured on the same attempts can be
compared pairwise, customers and all, without keeping a row of anybody. Judges nothing; that do the gates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

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


class Bin(TypedDict):
    """A category or a decile: how many attempts, what was predicted of them, and what came in."""

    name: str | int
    attempts: int
    predicted: float
    observed: float
    low: float
    high: float


class Group(TypedDict):
    """Some customers: their attempts, the sum of the model's log loss over them, and of the base rate's."""

    attempts: int
    log_loss: float
    base_log_loss: float


class Segment(TypedDict):
    """Attempts with something in common, and the mean log loss over them of the model and of the base rate."""

    name: str
    attempts: int
    log_loss: float
    base_log_loss: float


class Holdout(TypedDict):
    """Which attempts it was measured on; equal fingerprints mean equal attempts."""

    sha256: str
    since: str
    until: str


class Parts(TypedDict):
    """What the gates and drift need beside the metrics."""

    base_rate: float
    holdout: Holdout
    groups: list[Group]
    segments: list[Segment]
    score_shares: list[float]


class Evaluation(Parts):
    """`card["evaluation"]`; `metrics` are by `model` and `base_rate`, then `log_loss`, `brier`, `auc` and so on."""

    attempts: int
    customers: int
    success_rate: float
    metrics: dict[str, dict[str, Estimate]]
    by_category: list[Bin]
    by_decile: list[Bin]


def parts(
    chances: Numbers,
    succeeded: NDArray[np.bool_],
    *,
    attempt_ids: Sequence[str],
    customers: Sequence[str],
    segments: Mapping[str, Sequence[str]],
    base_rate: float,
    since: str,
    until: str,
) -> Parts:
    """Chances held against what came in, by group and segment. `base_rate` is that of the training window."""
    found = np.clip(chances, SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    base = np.full(len(found), min(max(base_rate, SMALLEST_CHANCE), 1 - SMALLEST_CHANCE))
    loss, base_loss = _log_losses(found, succeeded), _log_losses(base, succeeded)
    group = np.array([_group(name) for name in customers], dtype=int)
    sums = [np.bincount(group, values, GROUPS) for values in (np.ones(len(group)), loss, base_loss)]
    told = "\n".join(f"{name}:{int(one)}" for name, one in zip(attempt_ids, succeeded, strict=True))
    return {
        "base_rate": float(base_rate),
        "holdout": {"sha256": hashlib.sha256(told.encode()).hexdigest(), "since": since, "until": until},
        "groups": [
            {"attempts": int(count), "log_loss": float(one), "base_log_loss": float(other)}
            for count, one, other in zip(*sums, strict=True)
        ],
        "segments": [
            one for name, values in segments.items() for one in _segments(name, values, loss, base_loss)
        ],
        "score_shares": (np.histogram(found, SCORE_EDGES)[0] / max(1, len(found))).round(6).tolist(),
    }


def draws(groups: int) -> NDArray[np.int64]:
    """How often each group is drawn, for each draw of a bootstrap; the same at every call."""
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)


def _log_losses(chances: Numbers, succeeded: NDArray[np.bool_]) -> Numbers:
    return np.asarray(-np.where(succeeded, np.log(chances), np.log1p(-chances)), dtype=float)


def _group(customer: str) -> int:
    return int.from_bytes(hashlib.sha256(customer.encode()).digest()[:4], "big") % GROUPS


def _segments(column: str, values: Sequence[str], loss: Numbers, base_loss: Numbers) -> list[Segment]:
    names = np.asarray(values, dtype=object)
    return [
        {
            "name": f"{column} {name}",
            "attempts": int((names == name).sum()),
            "log_loss": float(loss[names == name].mean()),
            "base_log_loss": float(base_loss[names == name].mean()),
        }
        for name in sorted(set(values))
    ]
