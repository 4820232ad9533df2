"""What registry, planning and commands need of the timing model's own code: to train, open, score and measure.

Tests put a small one in its place. Whoever changes the model changes what is behind this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tinko_pipelines.model.evaluation import Evaluation, parts

SEGMENTS = ("account_id", "card_brand", "card_country", "currency")


@dataclass(frozen=True, slots=True)
class Made:
    """What training gives: a skops artefact, its card with `card["evaluation"]`, and the card as a page."""

    artefact: bytes
    card: dict[str, Any]
    card_html: str


class TimingModel(Protocol):
    """P(an attempt succeeds at a moment)."""

    def score(
        self, table: pa.Table, moments: Sequence[datetime], history: Any, now: datetime
    ) -> NDArray[np.float64]:
        """The chance of every case (row) at every moment (column), by what is known now."""
        ...


class Workshop(Protocol):
    """The code of one kind of timing model."""

    def train(self, attempts: pa.Table, now: datetime, in_use: TimingModel | None) -> Made:
        """A candidate from a table of attempts; InputError where they cannot be learned from."""
        ...

    def loads(self, artefact: bytes) -> TimingModel:
        """The model in an artefact that was held against its hash; StoreError where it is none."""
        ...

    def read(self, path: Path, outcome: str) -> pa.Table:
        """Attempts from a file somebody exported, its outcome in that column."""
        ...

    def history(self, attempts: pa.Table) -> Any:
        """An index over attempts that a model asks for what happened before."""
        ...

    def evaluate(
        self, model: TimingModel, attempts: pa.Table, since: datetime, until: datetime, base_rate: float
    ) -> Evaluation:
        """The model measured on retries from `since` to `until`, both included, that none was trained on."""
        ...


class OurWorkshop:
    """The workshop of the gradient-boosted recovery model."""

    def train(self, attempts: pa.Table, now: datetime, in_use: Any = None) -> Made:
        """By `timing.train`, with the losses by group that the gates compare."""
        from tinko_pipelines.model.timing.recovery import RecoveryModel
        from tinko_pipelines.model.timing.train import train_candidate

        made = train_candidate(attempts, now=now, in_use=in_use)
        window = made.card["data_window"]
        since, until = (datetime.fromisoformat(window[name]) for name in ("learned_until", "until"))
        model = RecoveryModel.loads(made.artefact)
        measured_parts = self.evaluate(model, attempts, since, until, made.card["base_rate"])
        evaluation = {**measured_parts, **made.card["evaluation"]}
        return Made(made.artefact, {**made.card, "evaluation": evaluation}, made.card_html)

    def loads(self, artefact: bytes) -> TimingModel:
        """By `timing.recovery`."""
        from tinko_pipelines.model.timing.recovery import RecoveryModel

        return RecoveryModel.loads(artefact)

    def read(self, path: Path, outcome: str) -> pa.Table:
        """By `timing.read`."""
        from tinko_pipelines.model.timing.read import read_attempts

        return read_attempts(path, outcome)

    def history(self, attempts: pa.Table) -> Any:
        """By `timing.history`."""
        from tinko_pipelines.model.timing.history import History
        from tinko_pipelines.model.timing.schema import completed

        return History(completed(attempts))

    def evaluate(
        self, model: Any, attempts: pa.Table, since: datetime, until: datetime, base_rate: float
    ) -> Evaluation:
        """On the customers that no model learns from, by what was known before each attempt."""
        from tinko_pipelines.model.timing.history import History
        from tinko_pipelines.model.timing.schema import completed, retries
        from tinko_pipelines.model.timing.split import held_back

        table = completed(attempts)
        rows = between(retries(table), since, until)
        rows = rows.filter(pa.array(held_back(rows)))
        return measured(rows, model.predict(model.features(rows, History(table))), since, until, base_rate)


def between(attempts: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """The attempts from `since` to `until`, both included."""
    at = attempts["attempted_at"]
    return attempts.filter(
        pc.and_(pc.greater_equal(at, pa.scalar(since)), pc.less_equal(at, pa.scalar(until)))
    )


def measured(
    rows: pa.Table, chances: NDArray[np.float64], since: datetime, until: datetime, base_rate: float
) -> Evaluation:
    """Chances held against attempts in the columns of a training set; who is not known stands for himself by his debt."""
    from tinko_pipelines.model.timing.evaluate import Executed, evaluate

    succeeded = np.array(rows["succeeded"].to_pylist(), dtype=bool)
    known = rows["customer_id"].to_pylist()
    customers = [str(who or debt) for who, debt in zip(known, rows["debt_id"].to_pylist(), strict=True)]
    codes = np.unique(np.array(customers, dtype=str), return_inverse=True)[1]
    executed = Executed(succeeded, codes, np.array(_names(rows, "category"), dtype=str))
    found = evaluate(executed, chances, base_rate)
    added = parts(
        chances,
        succeeded,
        attempt_ids=[str(name) for name in rows["attempt_id"].to_pylist()],
        customers=customers,
        segments={name: _names(rows, name) for name in SEGMENTS if name in rows.column_names},
        base_rate=base_rate,
        since=since.isoformat(),
        until=until.isoformat(),
    )
    return cast("Evaluation", {**found, **added})


def _names(rows: pa.Table, name: str) -> list[str]:
    if name not in rows.column_names:
        return ["unknown"] * rows.num_rows
    return [str(value or "unknown") for value in rows[name].to_pylist()]
