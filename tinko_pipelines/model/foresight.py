"""The timing model in use as planning asks it: chances of failed payments at the hours they might be retried at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa

from tinko_pipelines.model.timing.schema import OUTCOME, SCHEMA
from tinko_pipelines.model.workshop import TimingModel
from tinko_pipelines.retry.timing import Question, Row

CASES_AT_ONCE = 200
CASE_SCHEMA = pa.schema([field for field in SCHEMA if field.name != OUTCOME])
"""A failed payment in the columns of a training set, as our next attempt would have them."""


class Late:
    """A history that is read when first asked for; most plans ask nothing new."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read

    @cached_property
    def value(self) -> Any:
        """The history itself."""
        return self._read()


@dataclass(frozen=True)
class ModelForesight:
    """One version of the model, and what it knows of what happened before `now`."""

    version: str
    model: TimingModel
    late: Late
    now: datetime

    @property
    def history(self) -> Any:
        """What happened before."""
        return self.late.value

    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        """For each question the chance at each of its moments, judged by the full hour the moment lies in."""
        found: list[Sequence[float] | None] = []
        for start in range(0, len(questions), CASES_AT_ONCE):
            found.extend(self._some(questions[start : start + CASES_AT_ONCE]))
        return found

    def _some(self, questions: Sequence[Question]) -> list[Sequence[float]]:
        hours = sorted({_full_hour(moment) for asked in questions for moment in asked.moments})
        column = {hour: number for number, hour in enumerate(hours)}
        cases = case_table([asked.row for asked in questions], self.now)
        scores = self.model.score(cases, hours, self.history, self.now)
        return [
            [float(scores[row, column[_full_hour(moment)]]) for moment in asked.moments]
            for row, asked in enumerate(questions)
        ]


def case_table(rows: Sequence[Row], now: datetime) -> pa.Table:
    """Failed payments as the attempts that would follow on them."""
    return pa.Table.from_pylist([_as_attempt(row, now) for row in rows], schema=CASE_SCHEMA)


def _as_attempt(row: Row, now: datetime) -> dict[str, Any]:
    same = ("account_id", "debt_id", "customer_id", "card_fingerprint", "amount_minor", "currency", "category",
            "first_failed_at", "card_brand", "card_country", "payment_method_type")  # fmt: skip
    return {
        **{name: row.get(name) for name in same},
        "attempt_id": str(row.get("debt_id")),
        "attempted_at": now,
        "previous_attempt_at": row.get("last_failed_at"),
        "attempt_number": int(row.get("failed_charges") or 1) + 1,
        "decline_code": row.get("code"),
        "source": "ours",
    }


def _full_hour(moment: datetime) -> datetime:
    return moment - timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)
