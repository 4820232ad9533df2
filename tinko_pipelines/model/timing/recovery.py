"""The recovery model: boosted trees over the features of a retry, calibrated on later attempts than they were grown on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.model.timing import artefact
from tinko_pipelines.model.timing.features import FEATURES, Vocabulary, grid, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.schema import cases as as_cases

ROWS_LEAST, CLASS_LEAST = 300, 20
CALIBRATION_SHARE = 0.25
ISOTONIC_LEAST, BIN_LEAST, BINS_MAX = 2_000, 100, 40
CASES_AT_ONCE = 64
TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""Types in an artefact beside those skops itself knows to be harmless."""
FORMAT = 1
TREES = {
    "max_iter": 80,
    "learning_rate": 0.06,
    "max_leaf_nodes": 14,
    "min_samples_leaf": 60,
    "l2_regularization": 5.0,
    "early_stopping": False,
    "random_state": 0,
}


class TrainingRefusedError(InputError):
    """These attempts cannot be learned from; the message says why and what to do."""


class TooFewRetriesError(TrainingRefusedError):
    """There is nothing wrong with the attempts but that more are needed, which time brings."""


@dataclass(frozen=True)
class RecoveryModel:
    """P(an attempt at that moment succeeds), and the names it gives codes to.

    The trees' own score is mapped to log-odds by lines between the knots.
    """

    trees: Any
    knots: tuple[np.ndarray, np.ndarray]
    vocabulary: Vocabulary
    feature_names: tuple[str, ...] = field(default=tuple(one.name for one in FEATURES))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The probability of success for each row of features."""
        if not len(features):
            return np.empty(0)
        log_odds = np.interp(raw_score(self.trees, features), *self.knots)
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))

    def features(self, attempts: pa.Table, history: History) -> np.ndarray:
        """The features of completed attempts, as of the moments at which they were made."""
        return matrix(attempts, history, self.vocabulary)

    def score(
        self, table: pa.Table, moments: Sequence[datetime], history: History, now: datetime
    ) -> np.ndarray:
        """The probability of success of every case (row) at every moment (column), by what is known `now`.

        The cases have columns of `schema.SCHEMA`, as the attempt to come would have them; missing ones are not known.
        """
        cases = as_cases(table)
        hours = np.array([_micros(moment) for moment in moments], np.int64)
        found = np.empty((cases.num_rows, len(hours)))
        for start in range(0, cases.num_rows, CASES_AT_ONCE):
            few = cases.slice(start, CASES_AT_ONCE)
            known = grid(few, hours, _micros(now), history, self.vocabulary)
            found[start : start + few.num_rows] = self.predict(known).reshape(few.num_rows, -1)
        return found

    def dumps(self) -> bytes:
        """The model as a skops artefact; the same model gives the same bytes."""
        return artefact.dumps(
            {
                "format": FORMAT,
                "trees": self.trees,
                "knots_score": self.knots[0],
                "knots_log_odds": self.knots[1],
                "vocabulary": {name: list(names) for name, names in self.vocabulary.items()},
                "feature_names": list(self.feature_names),
            }
        )

    @classmethod
    def loads(cls, data: bytes) -> RecoveryModel:
        """The model in an artefact. StoreError for anything but skops, a type not on the allow-list, other features."""
        held = artefact.loads(data, TRUSTED)
        try:
            model = cls(
                trees=held["trees"],
                knots=(held["knots_score"], held["knots_log_odds"]),
                vocabulary={name: tuple(names) for name, names in held["vocabulary"].items()},
                feature_names=tuple(held["feature_names"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError("the artefact holds no recovery model; train it again") from error
        if held.get("format") != FORMAT or model.feature_names != tuple(one.name for one in FEATURES):
            raise StoreError("the recovery model knows other features than this version; train it again")
        return model


def fit(features: np.ndarray, outcome: np.ndarray, at: np.ndarray, vocabulary: Vocabulary) -> RecoveryModel:
    """Grow trees on the earlier rows, calibrate them on the later ones, then grow them on all; `at` is each row's moment.

    One thread, so that the same attempts give the same model on every machine. Raises TrainingRefusedError.
    """
    truth = checked(outcome)
    order = np.argsort(at, kind="stable")
    earlier, later = np.split(order, [int(len(order) * (1 - CALIBRATION_SHARE))])
    _refuse_one_class(truth[earlier], "the earlier three quarters of the retries")
    score = raw_score(grown(features, truth, earlier), features[later])
    return RecoveryModel(grown(features, truth, order), _calibrated(score, truth[later]), vocabulary)


def grown(features: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> Any:
    """Trees grown on these rows, in one thread; what they say is not calibrated."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    chosen = features[rows]
    chosen[:, np.isnan(chosen).all(axis=0)] = 0.0  # What is known of no attempt cannot be binned.
    with threadpool_limits(1):
        return HistGradientBoostingClassifier(**TREES).fit(chosen, truth[rows])


def raw_score(trees: Any, features: np.ndarray) -> np.ndarray:
    """What trees say of each row, in log-odds; their public method checks and copies what is ours."""
    return np.asarray(trees._raw_predict(features, n_threads=1)[:, 0])


def checked(outcome: np.ndarray) -> np.ndarray:
    """The outcomes as booleans, or TrainingRefusedError where nothing can be learned from them."""
    if not len(outcome):
        raise TooFewRetriesError(
            "there are no retries in this window: take a longer one, or wait until some were made"
        )
    values = np.asarray(outcome)
    if values.dtype != bool:
        good = np.isin(values, (0, 1)) if values.dtype.kind in "iuf" else np.zeros(len(values), bool)
        if not good.all():
            odd = values[np.argmin(good)]
            raise TrainingRefusedError(
                f"the outcome must be true or false, and holds {odd!r}: name another column or correct it"
            )
        values = values.astype(bool)
    if len(values) < ROWS_LEAST:
        raise TooFewRetriesError(
            f"{len(values)} retries are too few to learn from; {ROWS_LEAST} are the least"
        )
    _refuse_one_class(values, "the retries")
    return values


def _refuse_one_class(truth: np.ndarray, where: str) -> None:
    passed = int(truth.sum())
    if min(passed, len(truth) - passed) < CLASS_LEAST:
        raise TrainingRefusedError(
            f"of {len(truth)} outcomes in {where} {passed} are successes: {CLASS_LEAST} of each kind are the least;"
            " take a longer window, or look whether the outcome is the right column"
        )


def _calibrated(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots from scores to log-odds: a line where attempts are few, else through the means of monotone bins."""
    if len(score) < ISOTONIC_LEAST:
        from sklearn.linear_model import LogisticRegression

        if min(truth.sum(), len(truth) - truth.sum()) < 5:
            return np.array([-20.0, 20.0]), np.array([-20.0, 20.0])
        line = LogisticRegression(C=100.0).fit(score[:, None], truth)
        slope = max(float(line.coef_[0, 0]), 0.01)
        ends = np.array([-20.0, 20.0])
        return ends, float(line.intercept_[0]) + slope * ends
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(score, kind="stable")
    bins = np.array_split(order, min(BINS_MAX, len(order) // BIN_LEAST))
    size = np.array([len(one) for one in bins], float)
    means = np.array([score[one].mean() for one in bins])
    share = np.array([(truth[one].sum() + 0.5) / (len(one) + 1) for one in bins])
    level = IsotonicRegression().fit_transform(np.arange(len(bins)), share, sample_weight=size)
    groups = np.r_[0, np.flatnonzero(np.diff(level) > 0) + 1]
    weight = np.add.reduceat(size, groups)
    x = np.add.reduceat(size * means, groups) / weight
    y = np.log(level[groups] / (1 - level[groups]))
    return np.r_[x[0] - 8, x, x[-1] + 8], np.r_[y[0] - 2, y, y[-1] + 2]


def _micros(moment: datetime) -> int:
    return round((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
