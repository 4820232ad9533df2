"""From a table to a candidate, or to the reason why there is none."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.model.timing.attempts import BEGAN, NOW, invented, with_column
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.model.registry import Registry
from tinko_pipelines.model.timing.features import FEATURES
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.recovery import RecoveryModel, TrainingRefusedError
from tinko_pipelines.model.timing.schema import completed, micros, retries
from tinko_pipelines.model.timing.split import customers, held_back, split
from tinko_pipelines.model.timing.train import Candidate, train_candidate


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return train_candidate(invented(6_000), now=NOW)


def test_the_card_tells_what_the_artefact_is(candidate: Candidate) -> None:
    card = candidate.card
    assert card["sha256"] == hashlib.sha256(candidate.artefact).hexdigest()
    assert (
        card["rows"]["learned"] + card["rows"]["judged"] < card["rows"]["retries"] < card["rows"]["attempts"]
    )
    assert card["data_window"]["from"] < card["data_window"]["learned_until"] < card["data_window"]["until"]
    assert {row["name"] for row in card["features"]} == {feature.name for feature in FEATURES}
    assert [row["importance"] for row in card["features"][:2]] > [0.0, 0.0]
    assert {"previous_category", "hour_of_day"} & {row["name"] for row in card["features"][:3]}
    assert set(card["empty_columns"]) == {"payment_method_type", "processor", "authenticated"}
    assert json.loads(json.dumps(card)) == card


def test_it_is_better_than_the_base_rate_surely(candidate: Candidate) -> None:
    found = candidate.card["evaluation"]
    assert found["gain"]["auc"]["low"] > 0.1
    assert found["gain"]["log_loss"]["low"] > 0
    assert found["metrics"]["model"]["lift_top_decile"]["low"] > 1
    assert sum(row["attempts"] for row in found["by_decile"]) == found["attempts"]


def test_the_page_shows_it_with_no_script_and_no_network(candidate: Candidate) -> None:
    page = candidate.card_html
    assert page.startswith("<!doctype html>")
    assert candidate.card["sha256"] in page
    assert page.count("<circle") == 10
    for feature in FEATURES:
        assert feature.name in page
    for foreign in ("<script", "http://", "https://", "src="):
        assert foreign not in page


def test_training_is_repeatable(candidate: Candidate) -> None:
    again = train_candidate(invented(6_000), now=NOW)
    assert again == candidate
    table = invented(6_000)
    mixed = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    assert train_candidate(mixed, now=NOW).artefact == candidate.artefact, (
        "the order of the rows says nothing"
    )


def test_the_model_in_use_is_judged_beside_it(candidate: Candidate) -> None:
    in_use = RecoveryModel.loads(candidate.artefact)
    found = train_candidate(invented(6_000), now=NOW, in_use=in_use)
    judged = found.card["evaluation"]
    assert judged["metrics"]["in_use"] == judged["metrics"]["model"]
    assert judged["gain_in_use"]["log_loss"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "model in use" in found.card_html


def test_it_is_judged_by_customers_it_never_saw_and_later(candidate: Candidate) -> None:
    whole = completed(invented(6_000))
    retried = retries(whole)
    parts, at, whose = split(retried), micros(retried["attempted_at"]), customers(retried)
    assert parts.learned.sum() == candidate.card["rows"]["learned"]
    assert parts.judged.sum() == candidate.card["rows"]["judged"]
    assert at[parts.learned].max() < at[parts.judged].min()
    assert not set(whose[parts.learned]) & set(whose[parts.judged])
    assert held_back(retried).mean() == pytest.approx(0.3, abs=0.05)
    first = retried.slice(0, 100)
    assert held_back(first).tolist() == held_back(retried)[:100].tolist(), "by his name alone"


def test_what_is_learned_does_not_hang_on_those_it_is_judged_by(candidate: Candidate) -> None:
    """Other outcomes after the cut change no byte of the model."""
    table = completed(invented(6_000))
    cut = candidate.card["data_window"]["learned_until"]
    late = np.array([one.isoformat() >= cut for one in table["attempted_at"].to_pylist()])
    turned = table["succeeded"].to_numpy(zero_copy_only=False) ^ (late & (np.arange(len(late)) % 40 == 0))
    other = train_candidate(with_column(table, "succeeded", pa.array(turned)), now=NOW)
    assert other.artefact == candidate.artefact
    assert other.card["evaluation"] != candidate.card["evaluation"]


def label(values: Any) -> pa.Table:
    table = invented(1_500)
    return with_column(table, "succeeded", values(table))


REFUSED = {
    "single class": (lambda: label(lambda t: pa.array(np.zeros(t.num_rows, bool))), "are successes"),
    "poisoned": (
        lambda: label(lambda t: pa.array(["soon" if n == 9 else "true" for n in range(t.num_rows)])),
        "column succeeded is no outcome: row 10 holds 'soon'",
    ),
    "numbers": (lambda: label(lambda t: pa.array(np.arange(t.num_rows))), "row 3 holds 2"),
    "empty": (lambda: invented(1_500).slice(0, 0), "no retries in this window"),
    "no retries": (lambda: invented(3_000, tries=0), "no retries in this window"),
    "few": (lambda: invented(60), "too few to learn from"),
    "too few to judge": (lambda: invented(260), "too few retries to judge a model by"),
    "no outcome": (lambda: invented(50).drop_columns(["succeeded"]), "have no column succeeded"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused(name: str) -> None:
    make, told = REFUSED[name]
    with pytest.raises(InputError, match=told):
        train_candidate(make(), now=NOW)


def test_attempts_of_the_future_are_refused() -> None:
    with pytest.raises(TrainingRefusedError, match="an attempt lies in the future"):
        train_candidate(invented(1_500), now=BEGAN + timedelta(days=30))


def test_a_table_with_little_more_than_moments_and_outcomes_is_enough() -> None:
    bare = invented(6_000).select(["debt_id", "attempted_at", "succeeded"])
    card = train_candidate(bare, now=NOW).card
    assert card["evaluation"]["gain"]["auc"]["value"] > 0.05
    assert {row["name"]: row["missing_share"] for row in card["features"]}["amount"] == 1


def test_a_category_never_seen_has_a_chance_of_its_own(candidate: Candidate) -> None:
    model = RecoveryModel.loads(candidate.artefact)
    whole = completed(invented(300, seed=8))
    named = with_column(whole, "category", pa.array(["brand_new"] * whole.num_rows))
    found = model.predict(model.features(retries(named), History(named)))
    assert ((found > 0) & (found < 1)).all()
    code = model.features(retries(named), History(named))[
        :, [f.name for f in FEATURES].index("previous_category")
    ]
    assert set(code) == {len(model.vocabulary["category"])}


def test_a_candidate_is_stored_whole(candidate: Candidate, tmp_path: Path) -> None:
    made_by = {"by": "anna", "reason": "a try", "now": NOW, "code_version": "1"}
    registry = Registry(tmp_path / "models")
    version = registry.add(candidate.artefact, candidate.card, candidate.card_html, **made_by)
    folder = registry.page_path(version).parent
    names = ["card.html", "card.json", "model.skops", "version.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert registry.card(version) == candidate.card
    assert RecoveryModel.loads(registry.artefact(version)).feature_names
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Registry(tmp_path / "file").add(candidate.artefact, candidate.card, candidate.card_html, **made_by)
