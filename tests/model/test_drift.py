"""Drift: what counts as a shift and what does not, and that each finding says what to do."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.stand_in import START, SmallWorkshop, attempts
from tinko_pipelines.model.drift import (
    Finding,
    calibration_shifted,
    features_shifted,
    new_words,
    profile,
    psi,
    scores_shifted,
    unknown_share,
)
from tinko_pipelines.model.evaluation import Evaluation

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FAR = START + timedelta(days=4_000)
SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=12).map(
    lambda parts: [part / sum(parts) for part in parts]
)


@settings(derandomize=True, database=None, deadline=None)
@given(SHARES, st.randoms())
def test_psi_is_zero_for_the_same_and_symmetric(shares: list[float], random: Any) -> None:
    other = random.sample(shares, len(shares))
    assert psi(shares, shares) == 0
    assert psi(shares, other) == pytest.approx(psi(other, shares))
    assert psi(shares, other) >= 0


def test_psi_of_a_known_shift() -> None:
    assert psi([0.5, 0.5], [0.25, 0.75]) == pytest.approx(0.2747, abs=1e-4)
    assert psi([1.0, 0.0], [0.0, 1.0]) > 10


def test_attempts_like_those_in_training_are_no_drift() -> None:
    found = features_shifted(profile(attempts(seed=1)), attempts(1_000, seed=2))
    assert found.ok, found.told
    assert (found.advice, found.retrain) == ("", False)


@pytest.mark.parametrize(
    ("column", "shift"),
    [
        ("amount_minor", lambda table: pc.multiply(table["amount_minor"], 3)),
        ("card_brand", lambda table: pa.array(["amex"] * table.num_rows)),
        ("category", lambda table: pa.array(["limit_exceeded"] * table.num_rows)),
    ],
)
def test_a_feature_that_moved_is_named_with_a_plot(column: str, shift: Any) -> None:
    recent = attempts(1_000, seed=2)
    place = recent.column_names.index(column)
    found = features_shifted(profile(attempts(seed=1)), recent.set_column(place, column, shift(recent)))
    assert not found.ok
    assert found.retrain
    assert column in found.told
    assert "tinko model train" in found.advice
    assert all(bar.name.startswith(column) for bar in found.bars)
    assert sum(bar.before for bar in found.bars) == pytest.approx(1, abs=1e-3)
    assert sum(bar.now for bar in found.bars) == pytest.approx(1, abs=1e-3)


def test_too_few_attempts_tell_nothing() -> None:
    found = features_shifted(profile(attempts(seed=1)), attempts(199, seed=2))
    assert found.ok
    assert "too few" in found.told
    assert profile(attempts(10).select(["debt_id"])) == {}


@pytest.fixture(scope="module")
def measured() -> tuple[Evaluation, Evaluation, Evaluation]:
    """On its holdout, later in the same world, and in a world whose best hour is another."""
    shop = SmallWorkshop()
    made = shop.train(attempts(), NOW)
    model = shop.loads(made.artefact)
    later = START + timedelta(days=400)
    same = shop.evaluate(model, attempts(2_000, seed=5, start=later), later, FAR, 0.4)
    other = shop.evaluate(model, attempts(2_000, seed=5, start=later, best_hour=6), later, FAR, 0.4)
    return made.card["evaluation"], same, other


def test_chances_that_come_in_are_no_drift(measured: tuple[Evaluation, Evaluation, Evaluation]) -> None:
    trained, same, _ = measured
    assert calibration_shifted(same).ok
    found = scores_shifted(trained, same)
    assert found.ok
    assert found.bars


def test_chances_that_do_not_come_in_are(measured: tuple[Evaluation, Evaluation, Evaluation]) -> None:
    trained, _, _ = measured
    off: Any = copy.deepcopy(trained)
    for one in off["by_category"]:
        one["observed"] = one["predicted"] - 0.2
    found = calibration_shifted(off)
    assert (found.ok, found.retrain) == (False, True)
    assert "do_not_honor -0.200" in found.told
    assert "rollback" in found.advice
    shares: Any = {**off, "score_shares": list(reversed(off["score_shares"]))}
    moved = scores_shifted(trained, shares)
    assert (moved.ok, moved.retrain) == (False, True)
    assert "PSI of the chances" in moved.told
    few: Any = {**off, "attempts": 10}
    assert calibration_shifted(few).ok
    assert scores_shifted(trained, few).ok


def refusals(*rows: tuple[float, str, str, str]) -> pa.Table:
    """Days ago, category, code, text."""
    return pa.table(
        {
            "last_failed_at": pa.array(
                [NOW - timedelta(days=ago) for ago, _, _, _ in rows], pa.timestamp("us", tz="UTC")
            ),
            "category": pa.array([category for _, category, _, _ in rows], pa.string()),
            "code": pa.array([code for _, _, code, _ in rows], pa.string()),
            "failure_message": pa.array([text for _, _, _, text in rows], pa.string()),
        }
    )


OLD = [(40.0, "insufficient_funds", "insufficient_funds", "Your card has insufficient funds.")] * 20


@pytest.mark.parametrize(
    ("unknown", "known", "ok"), [(0, 20, True), (1, 19, True), (3, 17, False), (4, 0, True), (20, 0, False)]
)
def test_more_unknown_verdicts_than_before(unknown: int, known: int, ok: bool) -> None:
    recent = [(2.0, "unknown", "x", "")] * unknown + [(2.0, "do_not_honor", "do_not_honor", "")] * known
    found = unknown_share(refusals(*OLD, *recent), NOW, 28)
    assert found.ok is ok
    assert found.bars[0].now == pytest.approx(unknown / (unknown + known))
    assert bool(found.advice) is not ok
    assert unknown_share(refusals(), NOW, 28).ok


def test_new_codes_and_texts_are_named_without_what_may_name_somebody() -> None:
    new = [(1.0, "unknown", "E-77", f"Declined for ada{n}@example.com, ref 4242{n}") for n in range(6)]
    slip = [(1.0, "unknown", "typo", "odd")]
    found = new_words(refusals(*OLD, *new, *slip, *[(1.0, *OLD[0][1:])] * 3), NOW, 28)
    assert not found.ok
    assert {bar.name for bar in found.bars} == {"code e-77", "text declined for # ref #"}
    assert "ada" not in found.told
    assert "typo" not in found.told
    assert found.bars[0].now == pytest.approx(0.6)
    assert not found.retrain


@pytest.mark.parametrize("table", [refusals(), refusals(*OLD), refusals(*[(1.0, *OLD[0][1:])] * 9)])
def test_nothing_new_where_there_is_nothing_before_or_after(table: pa.Table) -> None:
    found = new_words(table, NOW, 28)
    assert isinstance(found, Finding)
    assert found.ok
