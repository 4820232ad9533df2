"""The model learns a rule it was not told, is right about how sure it is, and opens no file that it did not write."""

import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tests.model.timing.attempts import NOW, hours, invented
from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.timing import recovery
from tinko_pipelines.model.timing.evaluate import auc_of
from tinko_pipelines.model.timing.features import FEATURES, learn_names, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.recovery import RecoveryModel, TrainingRefusedError, fit
from tinko_pipelines.model.timing.schema import completed, micros, retries


class Learned:
    """A model of invented attempts, and those later than what it learned from."""

    def __init__(self, debts: int) -> None:
        self.whole = completed(invented(debts))
        self.retried = retries(self.whole)
        self.history = History(self.whole)
        self.names = learn_names(self.retried)
        self.values = matrix(self.retried, self.history, self.names)
        self.truth = self.retried["succeeded"].to_numpy(zero_copy_only=False)
        self.at = micros(self.retried["attempted_at"])
        self.cut = int(len(self.truth) * 0.7)
        self.model = self.fitted()

    def fitted(self) -> RecoveryModel:
        return fit(self.values[: self.cut], self.truth[: self.cut], self.at[: self.cut], self.names)


@pytest.fixture(scope="module", params=[2_000, 9_000], ids=["few", "many"])
def learned(request: pytest.FixtureRequest) -> Learned:
    return Learned(request.param)


def test_it_finds_the_rule_and_its_probabilities_come_true(learned: Learned) -> None:
    truth, predicted = learned.truth[learned.cut :], learned.model.predict(learned.values[learned.cut :])
    assert auc_of(truth, predicted) > 0.7
    assert predicted.mean() == pytest.approx(truth.mean(), abs=0.03)
    for part in np.array_split(np.argsort(predicted), 4):
        assert truth[part].mean() == pytest.approx(predicted[part].mean(), abs=0.07)
    assert ((predicted > 0) & (predicted < 1)).all()


def test_the_same_attempts_give_the_same_bytes_and_the_bytes_the_same_model(learned: Learned) -> None:
    artefact = learned.model.dumps()
    assert learned.fitted().dumps() == artefact
    read = RecoveryModel.loads(artefact)
    np.testing.assert_array_equal(read.predict(learned.values), learned.model.predict(learned.values))
    assert read.vocabulary == learned.model.vocabulary
    assert read.dumps() == artefact


def test_calibration_never_turns_an_order_round(learned: Learned) -> None:
    score, log_odds = learned.model.knots
    assert (np.diff(score) > 0).all()
    assert (np.diff(log_odds) > 0).all()


def test_cases_are_scored_at_hours_as_their_features_say(learned: Learned) -> None:
    cases = learned.retried.slice(0, 150)
    found = learned.model.score(cases, hours(24), learned.history, NOW)
    assert found.shape == (150, 24)
    assert found[:, 12].mean() > 1.3 * found[:, 2].mean(), "retries pass at daytime"
    alone = learned.model.score(cases.slice(149, 1), hours(24), learned.history, NOW)
    np.testing.assert_array_equal(found[149:], alone)


def test_a_case_of_which_little_is_known_is_scored_still(learned: Learned) -> None:
    bare = pa.table({"debt_id": ["in_x"], "category": ["never_heard_of"], "card_brand": ["mir"]})
    found = learned.model.score(bare, hours(3), learned.history, NOW)
    assert found.shape == (1, 3)
    assert ((found > 0) & (found < 1)).all()
    assert learned.model.score(bare.slice(0, 0), hours(3), learned.history, NOW).shape == (0, 3)


REFUSED = {
    "empty": (np.zeros(0, bool), "no retries in this window"),
    "few": (np.array([True, False] * 20), "40 retries are too few"),
    "one class": (np.ones(1_000, bool), "of 1000 outcomes in the retries 1000 are successes"),
    "poisoned": (np.array([0, 1, 7] * 200), "must be true or false, and holds"),
    "text": (np.array(["yes", "no"] * 300), "must be true or false, and holds"),
    "gaps": (np.array([0.0, 1.0, np.nan] * 200), "must be true or false, and holds"),
    "late": (np.arange(1_000) > 790, "of 750 outcomes in the earlier three quarters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused(name: str) -> None:
    outcome, told = REFUSED[name]
    with pytest.raises(TrainingRefusedError, match=told):
        fit(np.zeros((len(outcome), len(FEATURES))), outcome, np.arange(len(outcome)), {})


def foreign(name: str, artefact: bytes) -> bytes:
    if name == "pickle":
        return pickle.dumps({"format": 1})
    if name == "another estimator":
        return skops.io.dumps({"format": 1, "trees": LogisticRegression()})
    if name == "no dictionary":
        return skops.io.dumps([1, 2])
    if name == "type":
        files = zipfile.ZipFile(io.BytesIO(artefact))
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for one in files.namelist():
                content = files.read(one)
                if one == "schema.json":
                    content = content.replace(b'"TreePredictor"', b'"Popen"').replace(
                        b'"sklearn.ensemble._hist_gradient_boosting.predictor"', b'"subprocess"'
                    )
                archive.writestr(one, content)
        return written.getvalue()
    return artefact[: len(artefact) // 2]


@pytest.mark.parametrize("name", ["pickle", "cut short", "type", "another estimator", "no dictionary"])
def test_a_foreign_artefact_is_refused(name: str, learned: Learned) -> None:
    with pytest.raises(StoreError, match="train it again"):
        RecoveryModel.loads(foreign(name, learned.model.dumps()))


def test_a_model_of_other_features_is_refused(learned: Learned) -> None:
    other = replace(learned.model, feature_names=("hour_of_day",))
    with pytest.raises(StoreError, match="other features than this version"):
        RecoveryModel.loads(other.dumps())


def test_only_one_type_is_trusted() -> None:
    assert recovery.TRUSTED == ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
