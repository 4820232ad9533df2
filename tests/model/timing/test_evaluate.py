"""The numbers of an evaluation, held against scikit-learn's and against what can be counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from tinko_pipelines.model.timing import evaluate as evaluation
from tinko_pipelines.model.timing.evaluate import Executed, auc_of, evaluate


def executed(rows: int = 4_000, seed: int = 0) -> tuple[Executed, np.ndarray]:
    """Attempts with the very probabilities they were drawn with."""
    random = np.random.default_rng(seed)
    chance = np.round(random.beta(2, 5, rows), 2)
    customer = random.integers(0, rows // 3, rows)
    return Executed(random.random(rows) < chance, customer, np.where(customer % 2 == 0, "a", "b")), chance


def test_each_metric_is_what_others_call_it() -> None:
    attempts, chance = executed()
    found = evaluate(attempts, chance, 0.25, draws=20)["metrics"]
    bounded = np.clip(chance, 1e-6, 1 - 1e-6)
    assert found["model"]["auc"]["value"] == pytest.approx(roc_auc_score(attempts.outcome, chance))
    assert found["model"]["log_loss"]["value"] == pytest.approx(log_loss(attempts.outcome, bounded))
    assert found["model"]["brier"]["value"] == pytest.approx(brier_score_loss(attempts.outcome, chance))
    assert found["base_rate"]["auc"]["value"] == pytest.approx(0.5)
    assert found["base_rate"]["lift_top_decile"]["value"] == pytest.approx(1)


def test_the_lift_is_counted_in_the_top_tenth() -> None:
    outcome = np.array([True] * 8 + [False] * 2 + [True] * 8 + [False] * 82)
    score = np.r_[np.full(10, 0.9), np.full(90, 0.1)]
    found = evaluate(Executed(outcome, np.arange(100), np.full(100, "a")), score, 0.16, draws=5)
    assert found["metrics"]["model"]["lift_top_decile"]["value"] == pytest.approx(0.8 / 0.16)


def test_true_probabilities_lie_within_their_intervals() -> None:
    attempts, chance = executed()
    found = evaluate(attempts, chance, 0.28)
    assert [row["name"] for row in found["by_decile"]] == list(range(1, 11))
    inside = [row["low"] <= row["predicted"] <= row["high"] for row in found["by_decile"]]
    assert sum(inside) >= 8
    assert {row["name"]: row["attempts"] for row in found["by_category"]} == {
        name: int((attempts.category == name).sum()) for name in "ab"
    }
    assert found["gain"]["log_loss"]["low"] > 0
    assert found["gain"]["auc"]["low"] > 0


def test_a_gain_over_the_same_model_is_nothing_and_over_a_worse_one_sure() -> None:
    attempts, chance = executed()
    same = evaluate(attempts, chance, 0.28, chance, draws=30)["gain_in_use"]
    assert {(one["value"], one["low"], one["high"]) for one in same.values()} == {(0.0, 0.0, 0.0)}
    worse = evaluate(attempts, chance, 0.28, np.clip(1 - chance, 0.01, 0.99), draws=30)["gain_in_use"]
    assert all(one["low"] > 0 for one in worse.values())


def test_intervals_are_wider_where_customers_repeat_themselves() -> None:
    attempts, chance = executed(900)
    again = Executed(*(np.tile(one, 4) for one in (attempts.outcome, attempts.customer, attempts.category)))
    fresh = Executed(again.outcome, np.arange(3600), again.category)
    wide, narrow = (
        evaluate(one, np.tile(chance, 4), 0.28)["metrics"]["model"]["auc"] for one in (again, fresh)
    )
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_the_same_attempts_are_judged_alike_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, chance = executed()
    assert evaluate(attempts, chance, 0.28, draws=10) == evaluate(attempts, chance, 0.28, draws=10)
    monkeypatch.setattr(evaluation, "ROWS_MAX", 500)
    assert evaluate(attempts, chance, 0.28, draws=10)["attempts"] == 500


def test_without_both_outcomes_there_is_no_auc() -> None:
    assert np.isnan(auc_of(np.ones(5), np.arange(5)))
