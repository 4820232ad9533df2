"""What happened before a moment: counts and sums over earlier attempts of the same customer, card, account and so on.

Every answer counts attempts strictly before the moment asked about, whatever else the table holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.model.timing.schema import NEVER, OUTCOME, known_names, micros

DAY_MICROS = 86_400_000_000
PERSONAL = ("customer_id", "card_fingerprint")
LOG_PARTS = 1_000_000
"""Logarithms are summed in millionths, as whole numbers: a sum must not depend on what else is in the table."""
UNKNOWN, NEW = -1, -2
"""Codes of a group whose name is not known, and of one that the history has not seen."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Attempts that belong together: those equal in these columns; of retries alone where `retries` says so."""

    columns: tuple[str, ...]
    retries: bool = False


CUSTOMER = Grouping(("account_id", "customer_id"))
CARD = Grouping(("account_id", "card_fingerprint"))
MONEY = Grouping(("account_id", "currency"))
CATEGORY = Grouping(("account_id", "category"), retries=True)


@dataclass(frozen=True, slots=True)
class Past:
    """For each row how many attempts its group had before, how many succeeded, and when the last one did.

    Numbers are NaN where the group is not known; `log_amount` is the sum of the amounts' logarithms.
    """

    count: np.ndarray
    successes: np.ndarray
    log_amount: np.ndarray
    last_success_at: np.ndarray

    def rate(self, weight: float = 5.0, prior: float = 0.25) -> np.ndarray:
        """The share that succeeded, drawn to `prior` as if `weight` attempts had come in so."""
        return (self.successes + weight * prior) / (self.count + weight)


class History:
    """An index over a completed table of attempts; it is asked, and never changed."""

    def __init__(self, attempts: pa.Table) -> None:
        self.attempts = attempts
        self.at = micros(attempts["attempted_at"])
        self.moments = np.unique(self.at)
        self._groups: dict[Grouping, _Group] = {}

    @cached_property
    def _retried(self) -> np.ndarray:
        return np.asarray(pc.greater(self.attempts["attempt_number"], 1).to_numpy())

    @cached_property
    def _outcome(self) -> tuple[np.ndarray, np.ndarray]:
        amount = pc.fill_null(self.attempts["amount_minor"], 1).to_numpy()
        succeeded = self.attempts[OUTCOME].to_numpy()
        log_amount = np.rint(np.log2(np.maximum(amount, 1)) * LOG_PARTS)
        return succeeded.astype(np.int64), log_amount.astype(np.int64)

    def past(
        self, points: pa.Table, before: np.ndarray, grouping: Grouping, days: float | None = None
    ) -> Past:
        """What the group of each point did before a moment in microseconds; in the `days` before it, where given."""
        group = self._groups.get(grouping)
        if group is None:
            chosen = self._retried if grouping.retries else np.ones(len(self.at), bool)
            group = _Group(self, grouping, np.flatnonzero(chosen))
            self._groups[grouping] = group
        since = None if days is None else before - int(days * DAY_MICROS)
        return group.past(points, before, since)

    def rank(self, before: np.ndarray) -> np.ndarray:
        """How many distinct moments of the history lie before each."""
        return np.searchsorted(self.moments, before, side="left")

    def outcomes(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Success and logarithm of the amount of these rows."""
        succeeded, log_amount = self._outcome
        return succeeded[rows], log_amount[rows]


class _Group:
    """Attempts in order of group and moment, with running sums."""

    def __init__(self, history: History, grouping: Grouping, rows: np.ndarray) -> None:
        self.history, self.grouping = history, grouping
        table = history.attempts.select(grouping.columns)
        told = [_names(table, name).unique().drop_null().to_pylist() for name in grouping.columns]
        self.names = [{name: code for code, name in enumerate(names)} for names in told]
        codes = self._combined(table.take(pa.array(rows)))
        kept = codes >= 0
        rows, codes = rows[kept], codes[kept]
        self.codes = np.unique(codes)
        place = np.searchsorted(self.codes, codes)
        self.width = len(history.moments) + 1
        key = place * self.width + np.searchsorted(history.moments, history.at[rows])
        order = np.argsort(key, kind="stable")
        self.key, rows = key[order], rows[order]
        succeeded, log_amount = history.outcomes(rows)
        self.successes = np.r_[0, np.cumsum(succeeded)]
        self.log_amount = np.r_[0, np.cumsum(log_amount)]
        places = np.where(succeeded > 0, np.arange(len(rows)), -1)
        self.last_success = np.r_[-1, np.maximum.accumulate(places)].astype(np.int64)
        self.at = np.r_[history.at[rows], NEVER]

    def _combined(self, table: pa.Table) -> np.ndarray:
        """One number for the names in each row."""
        combined = np.zeros(table.num_rows, np.int64)
        unknown, new = np.zeros(table.num_rows, bool), np.zeros(table.num_rows, bool)
        for name, names in zip(self.grouping.columns, self.names, strict=True):
            coded = _names(table, name).combine_chunks().dictionary_encode()
            codes = [names.get(one, NEW) for one in coded.dictionary.to_pylist()]
            places = np.asarray(pc.fill_null(coded.indices, len(codes)).to_numpy(zero_copy_only=False))
            found = np.array([*codes, UNKNOWN], np.int64)[places]
            unknown |= found == UNKNOWN
            new |= found == NEW
            combined = combined * len(names) + found
        return np.where(unknown, UNKNOWN, np.where(new, NEW, combined))

    def past(self, points: pa.Table, before: np.ndarray, since: np.ndarray | None) -> Past:
        codes = self._combined(points.select(self.grouping.columns))
        place = np.searchsorted(self.codes, codes)
        found = (place < len(self.codes)) & (
            self.codes[np.minimum(place, len(self.codes) - 1)] == codes if len(self.codes) else False
        )
        base = place * self.width
        first = 0 if since is None else self.history.rank(since)
        start = np.searchsorted(self.key, base + first)
        stop = np.searchsorted(self.key, base + self.history.rank(before))
        stop = np.where(found, np.maximum(stop, start), start)
        last = self.last_success[stop]
        nothing = np.where(codes == UNKNOWN, np.nan, 0.0)
        return Past(
            count=stop - start + nothing,
            successes=self.successes[stop] - self.successes[start] + nothing,
            log_amount=(self.log_amount[stop] - self.log_amount[start]) / LOG_PARTS + nothing,
            last_success_at=np.where(last >= start, self.at[last], NEVER),
        )


def _names(table: pa.Table, name: str) -> pa.ChunkedArray:
    return known_names(table[name]) if name in PERSONAL else table[name]
