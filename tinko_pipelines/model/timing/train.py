"""From a table of attempts to a candidate: the model, its card, and the reasons to refuse either."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.model.timing import leaks
from tinko_pipelines.model.timing.card import as_html
from tinko_pipelines.model.timing.evaluate import Executed, evaluate
from tinko_pipelines.model.timing.features import FEATURES, learn_names, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.read import boolean
from tinko_pipelines.model.timing.recovery import (
    CLASS_LEAST,
    TREES,
    RecoveryModel,
    TooFewRetriesError,
    TrainingRefusedError,
    checked,
    fit,
)
from tinko_pipelines.model.timing.schema import OUTCOME, completed, micros, retries
from tinko_pipelines.model.timing.split import HELD_SHARE, Split, customers, split

JUDGED_LEAST = 50
IMPORTANCE_ROWS_MAX, IMPORTANCE_DRAWS = 5_000, 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model that nobody uses yet: its artefact, its card as data, and its card as a page."""

    artefact: bytes
    card: dict[str, Any]
    card_html: str


def train_candidate(attempts: pa.Table, *, now: datetime, in_use: RecoveryModel | None = None) -> Candidate:
    """Learn from a table of attempts in the columns of `schema.SCHEMA`, and judge by customer and time.

    The card's numbers are those of this very artefact, beside the base rate and the model `in_use`, if there is one.
    Raises InputError for a table that is not as it should be, TrainingRefusedError when nothing can be learned, and
    LeakError when a feature is not known in time.
    """
    table = _whole(attempts, now)
    retried = retries(table)
    truth = checked(retried[OUTCOME].to_numpy(zero_copy_only=False))
    parts, at, whose = split(retried), micros(retried["attempted_at"]), customers(retried)
    _refuse_unjudged(truth[parts.judged])
    vocabulary = learn_names(retried.filter(pa.array(parts.learned)))
    history = History(table)
    values = matrix(retried, history, vocabulary)
    leaks.refuse_later_knowledge(table, vocabulary)
    leaks.refuse_telltales(values, truth, at)
    leaks.refuse_memory(values, truth, at, whose)
    model = fit(values[parts.learned], truth[parts.learned], at[parts.learned], vocabulary)
    judged = retried.filter(pa.array(parts.judged))
    executed = Executed(truth[parts.judged], whose[parts.judged], _categories(judged))
    before = None if in_use is None else in_use.predict(in_use.features(judged, history))
    base_rate = float(truth[parts.learned].mean())
    found = evaluate(executed, model.predict(values[parts.judged]), base_rate, before)
    artefact = model.dumps()
    card = {
        "kind": "recovery_model",
        "sha256": hashlib.sha256(artefact).hexdigest(),
        "trained_at": now.astimezone(UTC).isoformat(),
        **_window(table, retried, parts),
        "base_rate": base_rate,
        **_versions(),
        "trees": TREES,
        "vocabulary": {name: list(names) for name, names in vocabulary.items()},
        "features": _importances(model, values[parts.judged], executed.outcome),
        "evaluation": found,
    }
    return Candidate(artefact, card, as_html(card))


def _whole(attempts: pa.Table, now: datetime) -> pa.Table:
    if OUTCOME in attempts.column_names:
        at = attempts.column_names.index(OUTCOME)
        attempts = attempts.set_column(at, OUTCOME, boolean(attempts[OUTCOME], OUTCOME))
    table = completed(attempts)
    newest = pc.max(table["attempted_at"]).as_py()
    if newest is not None and newest > now:
        raise TrainingRefusedError(
            f"an attempt lies in the future: {newest:%Y-%m-%d %H:%M} UTC in column attempted_at, and now it is"
            f" {now.astimezone(UTC):%Y-%m-%d %H:%M}; correct the moments"
        )
    return table


def _refuse_unjudged(truth: np.ndarray) -> None:
    passed = int(truth.sum())
    if len(truth) < JUDGED_LEAST or min(passed, len(truth) - passed) < CLASS_LEAST // 4:
        raise TooFewRetriesError(
            f"too few retries to judge a model by: {len(truth)} are later than what it learns from and of customers it"
            f" does not know, {passed} of them successes; {JUDGED_LEAST} are the least, with {CLASS_LEAST // 4} of each"
            " kind. Take a longer window"
        )


def _categories(judged: pa.Table) -> np.ndarray:
    return np.asarray(pc.fill_null(judged["category"], "unknown").to_numpy(zero_copy_only=False))


def _window(table: pa.Table, retried: pa.Table, parts: Split) -> dict[str, Any]:
    moments = retried["attempted_at"]
    cut = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=parts.cut_at)
    return {
        "data_window": {
            "from": pc.min(moments).as_py().isoformat(),
            "learned_until": cut.isoformat(),
            "until": pc.max(moments).as_py().isoformat(),
        },
        "rows": {
            "attempts": table.num_rows,
            "retries": retried.num_rows,
            "learned": int(parts.learned.sum()),
            "judged": int(parts.judged.sum()),
        },
        "held_customers_share": HELD_SHARE,
        "empty_columns": [name for name in table.column_names if table[name].null_count == table.num_rows],
    }


def _versions() -> dict[str, Any]:
    return {
        "code_version": version("tinko-pipelines"),
        "sklearn_version": version("scikit-learn"),
        "skops_version": version("skops"),
    }


def _importances(model: RecoveryModel, values: np.ndarray, truth: np.ndarray) -> list[dict[str, Any]]:
    """Each feature, and by how much log loss grows when its values are dealt out anew; the most important first."""
    few, outcome = values[-IMPORTANCE_ROWS_MAX:], truth[-IMPORTANCE_ROWS_MAX:]
    random = np.random.default_rng(0)
    plain = _log_loss(outcome, model.predict(few))
    rows = []
    for at, feature in enumerate(FEATURES):
        losses = []
        for _ in range(IMPORTANCE_DRAWS):
            mixed = few.copy()
            mixed[:, at] = random.permutation(mixed[:, at])
            losses.append(_log_loss(outcome, model.predict(mixed)))
        rows.append(
            {
                "name": feature.name,
                "sentence": feature.sentence,
                "importance": float(np.mean(losses) - plain),
                "missing_share": float(np.isnan(few[:, at]).mean()),
            }
        )
    return sorted(rows, key=_importance)


def _importance(row: dict[str, Any]) -> float:
    return -float(row["importance"])


def _log_loss(truth: np.ndarray, predicted: np.ndarray) -> float:
    bounded = np.clip(np.where(truth, predicted, 1 - predicted), 1e-9, 1)
    return float(-np.log(bounded).mean())
