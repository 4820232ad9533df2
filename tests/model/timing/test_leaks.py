"""A planted leak stops the training by name; honest features do not."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.model.timing.attempts import NOW, invented, with_column
from tinko_pipelines.model.timing.features import FEATURES, Feature, Known, learn_names, matrix
from tinko_pipelines.model.timing.history import CUSTOMER, History
from tinko_pipelines.model.timing.leaks import (
    LeakError,
    refuse_later_knowledge,
    refuse_memory,
    refuse_telltales,
)
from tinko_pipelines.model.timing.schema import completed, micros, retries
from tinko_pipelines.model.timing.split import customers
from tinko_pipelines.model.timing.train import train_candidate


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    return completed(invented(2_500))


def of(whole: pa.Table, *features: Feature) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, outcomes, moments and customers of the retries."""
    retried = retries(whole)
    values = matrix(retried, History(whole), learn_names(retried), [*FEATURES, *features])
    truth = retried["succeeded"].to_numpy(zero_copy_only=False)
    return values, truth, micros(retried["attempted_at"]), customers(retried)


def test_honest_features_pass_every_look(whole: pa.Table) -> None:
    values, truth, at, customer = of(whole)
    refuse_later_knowledge(whole, learn_names(whole))
    refuse_telltales(values, truth, at)
    refuse_memory(values, truth, at, customer)
    assert values.shape == (len(truth), len(FEATURES))


def paid_in_the_end(known: Known) -> np.ndarray:
    """Whether the customer ever pays, read from the whole history."""
    everything = known.history.attempts
    payers = pc.unique(everything.filter(everything["succeeded"])["customer_id"])
    return pc.is_in(known.cases["customer_id"], payers).to_numpy().astype(float)[:, None]


def own_answer(known: Known) -> np.ndarray:
    """What came of the very attempt, looked up by its id."""
    everything = known.history.attempts
    won = everything.filter(everything["succeeded"])["attempt_id"]
    return pc.is_in(known.cases["attempt_id"], won).to_numpy().astype(float)[:, None]


def a_day_too_late(known: Known) -> np.ndarray:
    """The customer's successes up to a day after the moment."""
    return known.history.past(known.cases, known.known_at + 86_400_000_000, CUSTOMER).successes[:, None]


@pytest.mark.parametrize("planted", [paid_in_the_end, own_answer, a_day_too_late])
def test_a_feature_that_looks_ahead_is_named(planted: object, whole: pa.Table) -> None:
    feature = Feature("planted", "Looks ahead.", planted)  # type: ignore[arg-type]
    with pytest.raises(LeakError, match="feature planted is not known in time: it changes"):
        refuse_later_knowledge(whole, learn_names(whole), [*FEATURES, feature])


def test_a_column_filled_in_after_the_attempt_is_named() -> None:
    """A common slip of exports: the code of the attempt's own refusal, empty where it succeeded."""
    table = invented(2_500)
    own = pc.if_else(table["succeeded"], pa.scalar(None, pa.string()), table["decline_code"])
    with pytest.raises(LeakError, match=r"feature previous_decline_code .* alone it tells the outcome"):
        train_candidate(with_column(table, "decline_code", own.combine_chunks()), now=NOW)


def test_an_amount_that_is_only_there_when_paid_is_named() -> None:
    table = invented(2_500)
    random = np.random.default_rng(0)
    noisy = pc.and_(table["succeeded"], pa.array(random.random(table.num_rows) < 0.97))
    amount = pc.if_else(noisy, table["amount_minor"], pa.scalar(0, pa.int64()))
    with pytest.raises(LeakError, match="feature amount"):
        train_candidate(with_column(table, "amount_minor", amount.combine_chunks()), now=NOW)


def test_a_feature_that_remembers_its_customers_is_named() -> None:
    """Customers whose fate is drawn by lot: who saw one of them before knows the others, who did not knows nothing."""
    random = np.random.default_rng(3)
    rows = 8_000
    customer = random.integers(0, 200, rows)
    truth = random.random(rows) < np.where(random.random(200) < 0.5, 0.8, 0.1)[customer]
    values = np.c_[random.normal(size=rows), customer.astype(float)]
    features = [Feature(name, "Made up.", own_answer) for name in ("noise", "customer_number")]
    at = np.sort(random.integers(0, 10**12, rows))
    with pytest.raises(LeakError, match=r"random split beats .* feature customer_number"):
        refuse_memory(values, truth, at, customer, features)
    refuse_memory(values[:, :1], truth, at, customer, features[:1])
