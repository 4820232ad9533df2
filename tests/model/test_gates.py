"""The gates: what passes, what does not, and that a refusal says which gate and by how much."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tests.model.stand_in import SmallModel, SmallWorkshop, attempts
from tinko_pipelines.model.evaluation import GROUPS, Evaluation
from tinko_pipelines.model.gates import Bounds, gain, judge

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def good() -> Evaluation:
    found: Evaluation = SmallWorkshop().train(attempts(), NOW).card["evaluation"]
    return found


@pytest.fixture(scope="module")
def poor() -> Evaluation:
    found: Evaluation = SmallWorkshop(noise=0.35).train(attempts(), NOW).card["evaluation"]
    return found


def changed(evaluation: Evaluation, **values: Any) -> Evaluation:
    made: Any = copy.deepcopy(evaluation)
    return {**made, **values}


def test_what_it_measures_adds_up(good: Evaluation) -> None:
    assert good["attempts"] == sum(group["attempts"] for group in good["groups"]) == 1_600
    assert len(good["groups"]) == GROUPS
    mean = sum(group["log_loss"] for group in good["groups"]) / good["attempts"]
    model = good["metrics"]["model"]["log_loss"]
    assert mean == pytest.approx(model["value"])
    assert model["low"] < model["value"] < model["high"]
    assert sum(good["score_shares"]) == pytest.approx(1, abs=1e-4)
    names = {segment["name"] for segment in good["segments"]}
    assert names == {"account_id default", "card_brand visa", "card_brand mastercard", "currency usd"}


def test_a_good_candidate_passes_and_is_told_by_how_much(good: Evaluation, poor: Evaluation) -> None:
    for against, named in ((None, "the base rate"), (poor, "the model in use")):
        judgement = judge(good, against)
        assert judgement.passed, judgement.refusal
        assert (judgement.against, judgement.refusal) == (named, "")
        better, low, high = gain(good, against) or (0, 0, 0)
        assert 0 < low < better < high
        assert f"{better:+.4f} better than {named}" in judgement.gates[0].told


def test_the_same_model_is_no_better_than_itself(good: Evaluation) -> None:
    judgement = judge(good, good)
    assert not judgement.passed
    assert (
        "log loss: +0.0000 better than the model in use, 95 % interval +0.0000 to +0.0000"
        in judgement.refusal
    )
    assert [gate.passed for gate in judgement.gates] == [False, True, True]


def test_a_worse_candidate_is_refused_by_every_gate_it_fails(good: Evaluation, poor: Evaluation) -> None:
    judgement = judge(poor, good)
    better, low, _ = gain(poor, good) or (0, 0, 0)
    assert better < 0
    assert f"short by {-low:.4f}" in judgement.refusal
    assert "segments: " in judgement.refusal
    assert "worse than with the model in use" in judgement.refusal
    assert "calibration: " in judgement.refusal


def test_better_by_less_than_noise_is_not_better(good: Evaluation) -> None:
    random = np.random.default_rng(3)
    groups = [{**group, "log_loss": group["log_loss"] + random.normal(0.01, 1.0)} for group in good["groups"]]
    judgement = judge(good, changed(good, groups=groups))
    assert not judgement.gates[0].passed
    assert "not above zero" in judgement.refusal


def test_models_measured_on_different_attempts_are_not_compared(good: Evaluation) -> None:
    other = changed(good, holdout={"sha256": "other", "since": "2026-01-01", "until": "2026-02-01"})
    assert gain(good, other) is None
    assert "measured on different attempts" in judge(good, other).refusal


@pytest.mark.parametrize(
    ("attempts_count", "predicted", "observed", "passed"),
    [
        (5_000, 0.30, 0.32, True),
        (5_000, 0.30, 0.34, False),
        (300, 0.30, 0.36, True),
        (300, 0.30, 0.38, False),
        (199, 0.30, 0.90, True),
        (5_000, 0.30, float("nan"), False),
    ],
)
def test_calibration_is_held_by_category(
    good: Evaluation, attempts_count: int, predicted: float, observed: float, passed: bool
) -> None:
    one = {"name": "do_not_honor", "attempts": attempts_count, "predicted": predicted, "observed": observed}
    judgement = judge(changed(good, by_category=[{**one, "low": 0.0, "high": 1.0}]), None)
    assert judgement.gates[1].passed is passed
    if not passed:
        assert f"do_not_honor predicted {predicted:.3f}, came in at {observed:.3f}" in judgement.refusal


@pytest.mark.parametrize(
    ("attempts_count", "loss", "passed"),
    [(500, 0.52, True), (500, 0.53, False), (499, 5.0, True), (900, float("nan"), False)],
)
def test_no_segment_may_be_much_worse(
    good: Evaluation, attempts_count: int, loss: float, passed: bool
) -> None:
    one = {"name": "card_brand visa", "attempts": attempts_count, "log_loss": loss, "base_log_loss": 0.5}
    judgement = judge(changed(good, segments=[one]), None)
    assert judgement.gates[2].passed is passed
    assert ("card_brand visa is" in judgement.refusal) is not passed


def test_too_few_customers_tell_nothing(good: Evaluation) -> None:
    few = [
        group if number < 12 else {"attempts": 0, "log_loss": 0.0, "base_log_loss": 0.0}
        for number, group in enumerate(good["groups"])
    ]
    assert "too few customers" in judge(changed(good, groups=few), None).refusal
    assert judge(changed(good, groups=few), None, Bounds(customers_groups=5)).gates[0].told.startswith("+")


def test_a_customers_attempts_stay_together(good: Evaluation) -> None:
    table = attempts(500)
    loads = SmallWorkshop().loads(SmallWorkshop().train(attempts(), NOW).artefact)
    assert isinstance(loads, SmallModel)
    moments = table["attempted_at"].to_pylist()
    once = SmallWorkshop().evaluate(loads, table, moments[0], moments[-1], 0.4)
    turned = table.take(list(reversed(range(table.num_rows))))
    again = SmallWorkshop().evaluate(loads, turned, moments[0], moments[-1], 0.4)
    assert [group["attempts"] for group in once["groups"]] == [group["attempts"] for group in again["groups"]]
    assert once["holdout"] != again["holdout"]
