"""The features of a retry: what was known when it was made, in words a person understands.

A feature is computed from a `Known`, which shows nothing of a retry's own outcome and nothing later than the moment
at which the decision falls. Whoever decides now about later hours knows what is known now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.declines.records import CATEGORIES
from tinko_pipelines.errors import InputError
from tinko_pipelines.model.timing.history import (
    CARD,
    CATEGORY,
    CUSTOMER,
    DAY_MICROS,
    MONEY,
    Grouping,
    History,
    Past,
)
from tinko_pipelines.model.timing.schema import KNOWN_BEFORE, NEVER, micros

HOUR_MICROS = 3_600_000_000
PAYDAYS = (1, 15)
NAMES_MAX, NAMES_LEAST = 60, 30
Vocabulary = Mapping[str, Sequence[str]]
"""The names that have a code of their own, by column; every other name has the code after the last."""

FIXED_NAMES: Vocabulary = {"category": CATEGORIES, "source": ("history", "stripe", "ours")}
LEARNED_NAMES = (
    "decline_code",
    "card_brand",
    "card_funding",
    "card_country",
    "payment_method_type",
    "processor",
)


@dataclass(frozen=True)
class Known:
    """What is known of some cases: `moment` is when each would be tried, `known_at` until when we know anything.

    Arrays have a row for each case, and a column for each moment or just one.
    """

    cases: pa.Table
    moment: np.ndarray
    known_at: np.ndarray
    history: History
    vocabulary: Vocabulary
    _pasts: dict[tuple[Grouping, float | None], Past] = field(default_factory=dict)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the cases; InputError for what is not known before an attempt."""
        if name not in KNOWN_BEFORE:
            raise InputError(f"column {name} is not known before an attempt, so no feature can use it")
        return self.cases[name]

    def numbers(self, name: str) -> np.ndarray:
        """A column as numbers, NaN where it is empty."""
        column = self.column(name).cast(pa.float64())
        return np.asarray(pc.fill_null(column, np.nan).to_numpy())[:, None]

    def codes(self, name: str) -> np.ndarray:
        """A column of names by their codes; those without one share a code, NaN where it is empty."""
        names = self.vocabulary.get(name, ())
        column = self.column(name)
        found = pc.fill_null(pc.index_in(column, pa.array(names, pa.string())), len(names))
        codes = np.where(pc.is_null(column).to_numpy(), np.nan, found.to_numpy())
        return np.asarray(codes)[:, None]

    def hours_since(self, name: str) -> np.ndarray:
        """Hours from a moment in a column to the moment of the attempt."""
        at = micros(self.column(name))[:, None]
        return np.where(at == NEVER, np.nan, (self.moment - at) / HOUR_MICROS)

    def past(self, grouping: Grouping, days: float | None = None) -> Past:
        """What the group of each case did before we stopped knowing."""
        found = self._pasts.get((grouping, days))
        if found is None:
            found = self.history.past(self.cases, self.known_at, grouping, days)
            self._pasts[grouping, days] = found
        return found


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a retry: its name, what it means, and how it is computed, as an array that spans the moments.

    `of_names`: the numbers are codes of names.
    """

    name: str
    sentence: str
    compute: Callable[[Known], np.ndarray]
    of_names: bool = False


def _days(known: Known) -> np.ndarray:
    return np.asarray(known.moment // DAY_MICROS)


def _day_of_month(known: Known) -> np.ndarray:
    days = _days(known).astype("datetime64[D]")
    return np.asarray((days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.float64) + 1)


def _days_to_payday(known: Known) -> np.ndarray:
    days = _days(known).astype("datetime64[D]")
    month = days.astype("datetime64[M]")
    waits = [
        (month + ahead).astype("datetime64[D]") + (payday - 1) - days
        for ahead in (0, 1)
        for payday in PAYDAYS
    ]
    whole = np.stack([wait.astype(np.float64) for wait in waits])
    return np.asarray(np.where(whole < 0, np.inf, whole).min(axis=0))


def _amount_to_usual(known: Known) -> np.ndarray:
    past = known.past(MONEY)
    usual = past.log_amount / np.maximum(past.count, 1)
    ratio = np.log2(np.maximum(known.numbers("amount_minor")[:, 0], 1)) - usual
    return np.where(past.count > 0, ratio, np.nan)[:, None]


def _failures(past: Past) -> np.ndarray:
    return np.asarray((past.count - past.successes)[:, None])


def _days_since_success(known: Known) -> np.ndarray:
    at = known.past(CUSTOMER).last_success_at
    return np.where(at == NEVER, np.nan, (known.known_at - at) / DAY_MICROS)[:, None]


FEATURES: tuple[Feature, ...] = (
    Feature("hours_since_first_failure", "Hours since the debt first failed.", lambda k: k.hours_since("first_failed_at")),
    Feature("hours_since_last_attempt", "Hours since the debt was last tried.", lambda k: k.hours_since("previous_attempt_at")),
    Feature("attempts_before", "How often the debt was tried before.", lambda k: k.numbers("attempt_number") - 1),
    Feature("hour_of_day", "Hour of the day, UTC.", lambda k: k.moment // HOUR_MICROS % 24),
    Feature("day_of_week", "Day of the week, 0 is Monday.", lambda k: (_days(k) + 3) % 7),
    Feature("day_of_month", "Day of the month.", _day_of_month),
    Feature("days_to_payday", "Days until the next 1st or 15th.", _days_to_payday),
    Feature("amount", "The amount in minor units.", lambda k: k.numbers("amount_minor")),
    Feature("amount_to_usual", "The amount beside the account's usual one in that currency, in doublings.", _amount_to_usual),
    Feature("previous_category", "Our category of the refusal before.", lambda k: k.codes("category"), of_names=True),
    Feature("previous_decline_code", "Decline code of the refusal before.", lambda k: k.codes("decline_code"), of_names=True),
    Feature("card_brand", "Brand of the card.", lambda k: k.codes("card_brand"), of_names=True),
    Feature("card_funding", "Credit, debit or prepaid.", lambda k: k.codes("card_funding"), of_names=True),
    Feature("card_country", "Where the card was issued.", lambda k: k.codes("card_country"), of_names=True),
    Feature("payment_method_type", "Kind of payment method.", lambda k: k.codes("payment_method_type"), of_names=True),
    Feature("processor", "Through whom it is tried.", lambda k: k.codes("processor"), of_names=True),
    Feature("authenticated", "Whether 3-D Secure is asked for.", lambda k: k.numbers("authenticated")),
    Feature("made_by", "Who tries: anybody, Stripe, or we.", lambda k: k.codes("source"), of_names=True),
    Feature("customer_successes", "Payments of the customer that passed before.", lambda k: k.past(CUSTOMER).successes[:, None]),
    Feature("customer_failures", "Attempts on the customer that failed before.", lambda k: _failures(k.past(CUSTOMER))),
    Feature("days_since_customer_paid", "Days since the customer last paid.", _days_since_success),
    Feature("card_successes", "Payments by the card that passed before.", lambda k: k.past(CARD).successes[:, None]),
    Feature("card_failures", "Attempts on the card that failed before.", lambda k: _failures(k.past(CARD))),
    Feature("category_success_rate_90d", "Share of the account's retries after such a refusal that passed in the 90 days before.",
            lambda k: k.past(CATEGORY, 90).rate()[:, None]),
)  # fmt: skip
"""Every feature of the model, in the order of its matrix."""


def matrix(
    attempts: pa.Table, history: History, vocabulary: Vocabulary, features: Sequence[Feature] = FEATURES
) -> np.ndarray:
    """Features of attempts as of the moments at which they were made: a row for each, a column for each feature."""
    at = micros(attempts["attempted_at"])
    return _filled(Known(attempts, at[:, None], at, history, vocabulary), features)


def grid(
    cases: pa.Table, moments: np.ndarray, known_at: int, history: History, vocabulary: Vocabulary
) -> np.ndarray:
    """Features of every case at every moment, by what is known at `known_at`: the moments of a case lie together.

    `cases` has the columns of `KNOWN_BEFORE` as the attempt would have them; moments are microseconds.
    """
    until = np.full(cases.num_rows, known_at)
    return _filled(Known(cases, moments[None, :], until, history, vocabulary), FEATURES)


def _filled(known: Known, features: Sequence[Feature]) -> np.ndarray:
    shape = (known.cases.num_rows, known.moment.shape[1], len(features))
    found = np.empty(shape, np.float64)
    for at, feature in enumerate(features):
        found[:, :, at] = feature.compute(known)
    return found.reshape(-1, len(features))


def learn_names(attempts: pa.Table) -> dict[str, tuple[str, ...]]:
    """The names frequent enough in these attempts to have a code of their own, the most frequent first."""
    learned: dict[str, tuple[str, ...]] = {name: tuple(names) for name, names in FIXED_NAMES.items()}
    for name in LEARNED_NAMES:
        counts = pc.value_counts(attempts[name].combine_chunks().drop_null())
        rows = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        ranked = sorted(((value, count) for value, count in rows if count >= NAMES_LEAST), key=_by_count)
        learned[name] = tuple(value for value, _ in ranked[:NAMES_MAX])
    return learned


def _by_count(row: tuple[str, int]) -> tuple[int, str]:
    return -row[1], row[0]
