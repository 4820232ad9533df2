"""The leak guard: training stops when a feature knows what could not be known when the attempt was made.

Three looks. A feature must not change when all that came later is taken away. None may tell the outcome by itself, as
only the outcome can. And who learns from rows drawn at random must not know more than who learns from earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tinko_pipelines.model.timing.evaluate import auc_of
from tinko_pipelines.model.timing.features import FEATURES, Feature, Vocabulary, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.recovery import TrainingRefusedError, grown, raw_score
from tinko_pipelines.model.timing.schema import micros, retries

LOOKED_AT_MAX = 60_000
POINTS_MAX = 400
CUTS = (0.3, 0.6, 0.9)
MOMENTS = 8
ALONE_MAX = 0.95
SUSPECT, AHEAD = 0.8, 0.1
"""A feature that tells so much alone, and so much more than all others together, tells it from the outcome."""
BINS = 32
DRIFT = 0.01
"""How much better a random split may be, in AUC: what a customer's habits and the season explain."""
DRAWS, CHANCE = 200, 0.5


class LeakError(TrainingRefusedError):
    """A feature is not known in time; the message names it."""


def refuse_later_knowledge(
    attempts: pa.Table, vocabulary: Vocabulary, features: Sequence[Feature] = FEATURES
) -> None:
    """Raise LeakError when a feature of a retry is another one without what came at its moment or later."""
    table = attempts.slice(max(0, attempts.num_rows - LOOKED_AT_MAX))
    at = micros(table["attempted_at"])
    whole = History(table)
    for share in CUTS:
        cut_at = at[int(len(at) * share)]
        points = retries(table.filter(pa.array(at <= cut_at)))
        points = points.slice(max(0, points.num_rows - POINTS_MAX))
        moments = np.unique(micros(points["attempted_at"]))
        _refuse_change(table, whole, points, cut_at, vocabulary, features)
        for moment in moments[:: max(1, len(moments) // MOMENTS)]:
            few = points.filter(pa.array(micros(points["attempted_at"]) == moment))
            _refuse_change(table, whole, few, moment, vocabulary, features)


def _refuse_change(
    table: pa.Table,
    history: History,
    points: pa.Table,
    moment: int,
    vocabulary: Vocabulary,
    features: Sequence[Feature],
) -> None:
    """Hold the points' features against those without the attempts at and after a moment, which none of them is after."""
    whole = matrix(points, history, vocabulary, features)
    earlier = History(table.filter(pa.array(micros(table["attempted_at"]) < moment)))
    before = matrix(points, earlier, vocabulary, features)
    for at, feature in enumerate(features):
        if not np.array_equal(whole[:, at], before[:, at], equal_nan=True):
            raise LeakError(
                f"feature {feature.name} is not known in time: it changes when the attempts at and after its moment are"
                " taken away; let it count only what came before"
            )


def refuse_telltales(
    values: np.ndarray, truth: np.ndarray, at: np.ndarray, features: Sequence[Feature] = FEATURES
) -> None:
    """Raise LeakError when one feature alone tells the outcome, or much more of it than all others together."""
    order = np.argsort(at, kind="stable")[-LOOKED_AT_MAX:]
    early, late = np.split(order, [len(order) // 2])
    if min(_classes(truth[early]), _classes(truth[late])) < 10:
        return
    alone = [_alone(values[:, at_], truth, early, late) for at_ in range(len(features))]
    for at_ in np.argsort(alone)[::-1]:
        if alone[at_] < SUSPECT:
            return
        others = np.delete(np.arange(len(features)), at_)
        trees = grown(values[:, others], truth, early)
        without = auc_of(truth[late], raw_score(trees, values[late][:, others]))
        if alone[at_] > ALONE_MAX or alone[at_] > without + AHEAD:
            raise LeakError(
                f"feature {features[at_].name} is not known in time: alone it tells the outcome with an AUC of"
                f" {alone[at_]:.2f}, all others together with {without:.2f}; look how its column is filled, and leave it"
                " out or take what stood there before the attempt"
            )


def refuse_memory(
    values: np.ndarray,
    truth: np.ndarray,
    at: np.ndarray,
    customer: np.ndarray,
    features: Sequence[Feature] = FEATURES,
) -> None:
    """Raise LeakError when a random split beats the split by customer and time by more than chance and drift."""
    chosen = np.argsort(at, kind="stable")[-LOOKED_AT_MAX:]
    random = np.random.default_rng(0)
    later = np.arange(len(chosen)) >= int(len(chosen) * 0.7)
    names = np.unique(customer[chosen])
    held = np.isin(customer[chosen], names[random.random(len(names)) < 0.5])
    judged, earlier = chosen[later & held], chosen[~later & ~held]
    if min(_classes(truth[earlier]), _classes(truth[judged])) < 20:
        return
    anyhow = np.sort(random.choice(np.setdiff1d(chosen, judged), len(earlier), replace=False))
    pair = [grown(values, truth, rows) for rows in (earlier, anyhow)]
    in_time, at_random = [raw_score(tree, values[judged]) for tree in pair]
    least = _surely(truth[judged], in_time, at_random, customer[judged], random)
    if least > DRIFT:
        gap = auc_of(truth[judged], at_random) - auc_of(truth[judged], in_time)
        raise LeakError(
            f"a random split beats the split by time by {gap:.3f} in AUC, surely by {least:.3f}, and {DRIFT} is the most:"
            f" feature {_remembered(pair, values[judged], truth[judged], features, random)} lets the model know its"
            " customers or days again; leave it out"
        )


def _surely(
    truth: np.ndarray,
    in_time: np.ndarray,
    at_random: np.ndarray,
    customer: np.ndarray,
    random: np.random.Generator,
) -> float:
    """The least by which the second surely beats the first, drawing whole customers."""
    _, first, size = np.unique(np.sort(customer), return_index=True, return_counts=True)
    order = np.argsort(customer, kind="stable")
    gaps = []
    for _ in range(DRAWS):
        drawn = random.integers(0, len(first), len(first))
        rows = order[np.concatenate([np.arange(first[one], first[one] + size[one]) for one in drawn])]
        gap = auc_of(truth[rows], at_random[rows]) - auc_of(truth[rows], in_time[rows])
        gaps.append(gap)
    return float(np.nanpercentile(gaps, CHANCE))


def _remembered(
    pair: list[object],
    values: np.ndarray,
    truth: np.ndarray,
    features: Sequence[Feature],
    random: np.random.Generator,
) -> str:
    """The feature without which the lead of the random split shrinks most."""
    left = []
    for at in range(len(features)):
        mixed = values.copy()
        mixed[:, at] = random.permutation(mixed[:, at])
        in_time, at_random = (auc_of(truth, raw_score(tree, mixed)) for tree in pair)
        left.append(at_random - in_time)
    return features[int(np.argmin(left))].name


def _alone(column: np.ndarray, truth: np.ndarray, early: np.ndarray, late: np.ndarray) -> float:
    """The AUC on later rows of the success rates that earlier rows had in each of a feature's bins."""
    known = column[early][~np.isnan(column[early])]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else known
    bins = np.searchsorted(edges, column, side="left")
    bins = np.where(np.isnan(column), BINS, bins)
    size = np.bincount(bins[early], minlength=BINS + 1)
    good = np.bincount(bins[early], truth[early], minlength=BINS + 1)
    rate = (good + truth[early].mean()) / (size + 1)
    return auc_of(truth[late], rate[bins[late]])


def _classes(truth: np.ndarray) -> int:
    """How many rows the rarer outcome has."""
    return int(min(truth.sum(), len(truth) - truth.sum()))
