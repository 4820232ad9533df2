"""How good predictions of executed attempts are, with the uncertainty of each number. Whether that is enough is not said here.

Intervals come from drawing whole customers again, since the attempts of one customer are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 200
ROWS_MAX = 200_000
INTERVAL = (2.5, 97.5)
DECILES = 10
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Executed:
    """Executed attempts: what came of each, whose it was (a number), and after which category."""

    outcome: np.ndarray
    customer: np.ndarray
    category: np.ndarray


def evaluate(
    executed: Executed,
    predicted: np.ndarray,
    base_rate: float,
    in_use: np.ndarray | None = None,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Metrics of the predictions, of the base rate known in training, and of the model in use, where there is one.

    Each metric is {value, low, high}; `gain` is what is better than the base rate, `gain_in_use` than the model in use:
    differences on the same draws, positive where the new predictions are better.
    """
    kept = _some(len(predicted))
    truth = executed.outcome[kept].astype(np.float64)
    clusters = np.unique(executed.customer[kept], return_inverse=True)[1]
    judged = {"model": _Judged(truth, predicted[kept])}
    judged["base_rate"] = _Judged(truth, np.full(len(truth), base_rate))
    if in_use is not None:
        judged["in_use"] = _Judged(truth, in_use[kept])
    bins = {
        "by_decile": _deciles(predicted[kept]),
        "by_category": np.asarray(executed.category[kept]).astype(str),
    }
    counted = {
        name: _Binned(values, truth, predicted[kept], number=name == "by_decile")
        for name, values in bins.items()
    }
    random = np.random.default_rng(0)
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in judged}
    binned: dict[str, list[np.ndarray]] = {name: [] for name in counted}
    for _ in range(draws):
        drawn = np.bincount(
            random.integers(0, clusters.max() + 1, clusters.max() + 1), minlength=clusters.max() + 1
        )
        weight = drawn[clusters].astype(np.float64)
        for name, one in judged.items():
            samples[name].append(one.metrics(weight))
        for name, part in counted.items():
            binned[name].append(part.observed(weight))
    whole = {name: one.metrics(np.ones(len(truth))) for name, one in judged.items()}
    found: dict[str, Any] = {
        "attempts": len(truth),
        "customers": int(clusters.max()) + 1,
        "success_rate": float(truth.mean()),
        "metrics": {name: _with_intervals(whole[name], samples[name]) for name in judged},
        "gain": _gain(whole, samples, "base_rate"),
        **{name: part.rows(np.array(binned[name])) for name, part in counted.items()},
    }
    if in_use is not None:
        found["gain_in_use"] = _gain(whole, samples, "in_use")
    return found


def auc_of(truth: np.ndarray, score: np.ndarray) -> float:
    """The chance that a success scores higher than a failure; NaN where there are not both."""
    return _Judged(truth.astype(np.float64), score).auc(np.ones(len(truth)))


class _Judged:
    """Predictions beside what came of them, sorted once, so that each draw is cheap."""

    def __init__(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        self.truth = truth
        bounded = np.clip(predicted, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        self.log_loss = -np.where(truth > 0, np.log(bounded), np.log1p(-bounded))
        self.brier = (predicted - truth) ** 2
        self.levels, self.level = np.unique(predicted, return_inverse=True)

    def metrics(self, weight: np.ndarray) -> dict[str, float]:
        total = weight.sum()
        return {
            "auc": self.auc(weight),
            "log_loss": float(self.log_loss @ weight / total),
            "brier": float(self.brier @ weight / total),
            "lift_top_decile": self.lift(weight),
        }

    def auc(self, weight: np.ndarray) -> float:
        good, bad = self._by_level(weight)
        if not good.sum() or not bad.sum():
            return float("nan")
        below = np.cumsum(bad) - bad / 2
        return float(good @ below / (good.sum() * bad.sum()))

    def lift(self, weight: np.ndarray) -> float:
        """Successes in the tenth that scores highest, as a multiple of those in all; ties share."""
        good, bad = self._by_level(weight)
        size = (good + bad)[::-1]
        reached = np.cumsum(size)
        tenth = reached[-1] / 10
        taken = np.clip(tenth - (reached - size), 0, size)
        rate = good[::-1] / np.maximum(size, 1e-12)
        share = good.sum() / reached[-1]
        return float((taken @ rate) / tenth / share) if share else float("nan")

    def _by_level(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = len(self.levels)
        good = np.bincount(self.level, weight * self.truth, size)
        return good, np.bincount(self.level, weight, size) - good


class _Binned:
    """Predicted and observed success by bin."""

    def __init__(self, bins: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, number: bool) -> None:
        self.names, self.bin = np.unique(bins, return_inverse=True)
        self.truth, self.number = truth, number
        self.size = np.bincount(self.bin)
        self.predicted = np.bincount(self.bin, predicted) / self.size
        self.rate = np.bincount(self.bin, truth) / self.size

    def observed(self, weight: np.ndarray) -> np.ndarray:
        total = np.bincount(self.bin, weight, len(self.names))
        good = np.bincount(self.bin, weight * self.truth, len(self.names))
        return np.asarray(np.divide(good, total, out=np.full(len(total), np.nan), where=total > 0))

    def rows(self, drawn: np.ndarray) -> list[dict[str, Any]]:
        low, high = _bounds(drawn)
        return [
            {
                "name": int(name) + 1 if self.number else str(name),
                "attempts": int(self.size[at]),
                "predicted": float(self.predicted[at]),
                "observed": float(self.rate[at]),
                "low": float(low[at]),
                "high": float(high[at]),
            }
            for at, name in enumerate(self.names)
        ]


def _some(rows: int) -> np.ndarray:
    """All rows, or a bounded number of them drawn always alike."""
    if rows <= ROWS_MAX:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, ROWS_MAX, replace=False))


def _deciles(predicted: np.ndarray) -> np.ndarray:
    order = np.argsort(predicted, kind="stable")
    decile = np.empty(len(order), np.int64)
    decile[order] = np.arange(len(order)) * DECILES // len(order)
    return decile


def _bounds(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of each column; a column that was never drawn with a value has none."""
    spoken = np.where(np.isnan(drawn).all(axis=0), 0.0, drawn)
    low, high = np.nanpercentile(spoken, INTERVAL, axis=0)
    return low, high


def _with_intervals(whole: Mapping[str, float], drawn: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: _interval(value, [one[name] for one in drawn]) for name, value in whole.items()}


def _gain(
    whole: Mapping[str, Mapping[str, float]], drawn: Mapping[str, list[dict[str, float]]], other: str
) -> dict[str, dict[str, float]]:
    """How much better the model is than the other, metric by metric."""
    found = {}
    for name in whole["model"]:
        sign = -1 if name in ("log_loss", "brier") else 1
        pairs = zip(drawn["model"], drawn[other], strict=True)
        differences = [sign * (one[name] - another[name]) for one, another in pairs]
        found[name] = _interval(sign * (whole["model"][name] - whole[other][name]), differences)
    return found


def _interval(value: float, drawn: list[float]) -> dict[str, float]:
    low, high = _bounds(np.array(drawn)[:, None])
    return {"value": float(value), "low": float(low[0]), "high": float(high[0])}
