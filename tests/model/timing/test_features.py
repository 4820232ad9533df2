"""What a feature tells was known before the attempt, and the same whether asked row by row or for a grid of hours."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.timing.attempts import NOW, hours, invented
from tinko_pipelines.errors import InputError
from tinko_pipelines.model.timing.features import FEATURES, Feature, grid, learn_names, matrix
from tinko_pipelines.model.timing.history import CUSTOMER, History
from tinko_pipelines.model.timing.schema import SCHEMA, completed, micros, retries

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
NAMES = [feature.name for feature in FEATURES]
KINDS = ("insufficient_funds", "do_not_honor", None)


def row(number: int, minutes: int, **values: Any) -> dict[str, Any]:
    plain = {
        "attempt_id": f"a{number}", "account_id": "acct", "debt_id": "in_1", "customer_id": "cus_1",
        "card_fingerprint": "fp_1", "attempted_at": START + timedelta(minutes=minutes), "succeeded": False,
        "amount_minor": 1000, "currency": "usd", "category": "insufficient_funds",
    }  # fmt: skip
    return {**plain, **values}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def known(attempts: pa.Table) -> list[dict[str, float]]:
    whole = completed(attempts)
    values = matrix(whole, History(whole), learn_names(whole))
    return [dict(zip(NAMES, one, strict=True)) for one in values.tolist()]


def test_each_number_by_hand() -> None:
    _, _, found, other = known(
        table(
            row(1, 0, category=None),
            row(2, 60 * 24, debt_id="in_0", succeeded=True, amount_minor=4000, category=None),
            row(3, 60 * 72),
            row(4, 60 * 73, debt_id="in_9", customer_id="erased", card_fingerprint=None),
        )
    )
    wanted = {
        "hours_since_first_failure": 72, "hours_since_last_attempt": 72, "attempts_before": 1, "hour_of_day": 9,
        "day_of_week": 2, "day_of_month": 4, "days_to_payday": 11, "amount": 1000, "amount_to_usual": -1,
        "previous_category": 0, "customer_successes": 1, "customer_failures": 1, "days_since_customer_paid": 2,
        "card_successes": 1, "card_failures": 1,
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert other["attempts_before"] == 0
    for name in ("customer_successes", "customer_failures", "card_successes", "hours_since_first_failure"):
        assert np.isnan(other[name]), "who was erased is nobody we know"


@pytest.mark.parametrize(("day", "wait"), [(1, 0), (2, 13), (15, 0), (16, 16), (31, 1)])
def test_days_to_payday(day: int, wait: int) -> None:
    [found] = known(table(row(1, 0, attempted_at=datetime(2026, 3, day, 12, tzinfo=UTC))))
    assert found["days_to_payday"] == wait
    assert found["day_of_month"] == day


def test_attempts_at_the_same_moment_do_not_know_of_each_other() -> None:
    one, other = known(table(row(1, 0), row(2, 0)))
    for found in (one, other):
        assert found["attempts_before"] == found["customer_failures"] == found["card_failures"] == 0
        assert np.isnan(found["hours_since_first_failure"])


def test_a_rate_of_retries_counts_its_window_alone() -> None:
    old = [row(number, number - 60 * 24 * 100, debt_id="in_0", succeeded=True) for number in range(1, 30)]
    *_, found = known(table(*old, row(90, 0, debt_id="in_5"), row(91, 60, debt_id="in_5")))
    assert found["category_success_rate_90d"] == pytest.approx(0.25)
    *_, lately = known(
        table(
            *(row(n, n, debt_id="in_0", succeeded=True) for n in range(1, 30)), row(91, 600, debt_id="in_5")
        )
    )
    assert lately["category_success_rate_90d"] == pytest.approx((28 + 5 * 0.25) / (28 + 5))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["in_1", "in_2", "in_3"]),
        st.sampled_from(["cus_1", "cus_2", "erased", None]),
        st.sampled_from(["fp_1", "fp_2", None]),
        st.booleans(),
        st.sampled_from(KINDS),
        st.sampled_from(["usd", "eur", None]),
        st.integers(1, 10_000),
    ),
    min_size=2,
    max_size=30,
)


def drawn(rows: list[tuple[Any, ...]], prefix: str = "a") -> list[dict[str, Any]]:
    keys = ("debt_id", "customer_id", "card_fingerprint", "succeeded", "category", "currency", "amount_minor")
    return [
        row(0, minutes * 60, attempt_id=f"{prefix}{number}", **dict(zip(keys, values, strict=True)))
        for number, (minutes, *values) in enumerate(rows)
    ]


@settings(max_examples=150, deadline=None)
@given(before=ROWS, after=ROWS, turned=st.booleans())
def test_whatever_happens_at_its_moment_or_later_changes_no_feature(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]], turned: bool
) -> None:
    """The rows up to a moment keep their features when those at and after it are others, or have other outcomes."""
    rows = drawn(before)
    cut = max(one["attempted_at"] for one in rows)
    later = [one | {"attempted_at": one["attempted_at"] + (cut - START)} for one in drawn(after, "b")]
    if turned:
        later += [one | {"succeeded": not one["succeeded"]} for one in rows if one["attempted_at"] == cut]
        rows_then = [one for one in rows if one["attempted_at"] < cut] + later
    else:
        rows_then = rows + later
    names = learn_names(completed(table(*rows)))
    first, then = (completed(table(*these)) for these in (rows, rows_then))
    kept = set(first["attempt_id"].to_pylist()) & set(then["attempt_id"].to_pylist())
    assert kept
    values = []
    for whole in (first, then):
        found = matrix(whole, History(whole), names)
        values.append(
            {name: found[at] for at, name in enumerate(whole["attempt_id"].to_pylist()) if name in kept}
        )
    for name in kept:
        np.testing.assert_array_equal(values[0][name], values[1][name])


def test_a_grid_says_at_each_hour_what_a_row_at_that_hour_would() -> None:
    whole = completed(invented(120))
    history, names = History(whole), learn_names(whole)
    cases = retries(whole).slice(0, 40)
    moments = np.array([int(one.timestamp() * 1e6) for one in hours(30)])
    wide = grid(cases, moments, int(NOW.timestamp() * 1e6), history, names).reshape(40, 30, -1)
    clock = [NAMES.index(name) for name in NAMES if name.startswith(("hour", "day_of", "days_to"))]
    for number in (0, 11, 29):
        at = pa.chunked_array(
            [pa.array(np.full(40, moments[number])).cast(SCHEMA.field("attempted_at").type)]
        )
        rows = cases.set_column(cases.column_names.index("attempted_at"), "attempted_at", at)
        alone = matrix(rows, history, names)
        np.testing.assert_array_equal(wide[:, number, clock], alone[:, clock])
    first = matrix(rows, history, names)
    fixed = [at for at in range(len(NAMES)) if at not in clock and NAMES[at] != "days_since_customer_paid"]
    np.testing.assert_array_equal(wide[:, 0, fixed], wide[:, 29, fixed])
    still = [at for at in fixed if NAMES[at] != "category_success_rate_90d"]
    np.testing.assert_array_equal(wide[:, 29, still], first[:, still])


def test_names_never_seen_share_a_code_of_their_own() -> None:
    whole = completed(invented(300))
    names = learn_names(whole)
    seen, new, none = (
        completed(table(row(1, 0, category="do_not_honor", card_brand=brand)))
        for brand in ("visa", "mir", None)
    )
    at = NAMES.index("card_brand")
    codes = [matrix(one, History(whole), names)[0, at] for one in (seen, new, none)]
    assert codes[0] < len(names["card_brand"])
    assert codes[1] == len(names["card_brand"])
    assert np.isnan(codes[2])


def test_a_feature_cannot_see_its_own_outcome() -> None:
    whole = completed(invented(50))
    answer = Feature("answer", "The outcome itself.", lambda known: known.numbers("succeeded"))
    with pytest.raises(InputError, match="succeeded is not known before an attempt"):
        matrix(whole, History(whole), {}, [answer])


def test_the_past_of_a_group_ends_before_the_moment() -> None:
    whole = completed(table(row(1, 0, succeeded=True), row(2, 10), row(3, 20, succeeded=True)))
    before = micros(whole["attempted_at"])
    past = History(whole).past(whole, before, CUSTOMER)
    assert past.count.tolist() == [0, 1, 2]
    assert past.successes.tolist() == [0, 1, 1]
    assert past.last_success_at.tolist()[1:] == [before[0], before[0]]
