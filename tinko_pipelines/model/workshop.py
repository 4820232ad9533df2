"""What registry, planning and commands need of the timing model's own code: to train, open, score and measure.

Tests put a small one in its place. Whoever changes the model changes what is behind this.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tinko_pipelines.model.evaluation import Evaluation, parts


class Candidate(Protocol):
    """What training gives: a skops artefact, its card with `card["evaluation"]`, and the card as a page."""

    artefact: bytes
    card: dict[str, Any]
    card_html: str


class TimingModel(Protocol):
    """P(an attempt succeeds at a moment)."""

    def score(
        self, cases: pa.Table, moments: Sequence[datetime], history: Any, now: datetime
    ) -> NDArray[np.float64]:
        """The chance of every case (row) at every moment (column), by what is known now."""
        ...


class Workshop(Protocol):
    """The code of one kind of timing model."""

    def train(self, attempts: pa.Table, now: datetime) -> Candidate:
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
        self, model: TimingModel, attempts: pa.Table, since: datetime, base_rate: float
    ) -> Evaluation:
        """The model measured on the retries made since then."""
        ...


class OurWorkshop:
    """The workshop of the gradient-boosted recovery model."""

    def train(self, attempts: pa.Table, now: datetime) -> Candidate:
        """By `timing.train`."""
        made: Candidate = _timing("train").train_candidate(attempts, now=now)
        return made

    def loads(self, artefact: bytes) -> TimingModel:
        """By `timing.recovery`."""
        model: TimingModel = _timing("recovery").RecoveryModel.loads(artefact)
        return model

    def read(self, path: Path, outcome: str) -> pa.Table:
        """By `timing.read`."""
        return _timing("read").read_attempts(path, outcome)

    def history(self, attempts: pa.Table) -> Any:
        """By `timing.history`."""
        return _timing("history").History(_timing("schema").completed(attempts))

    def evaluate(self, model: Any, attempts: pa.Table, since: datetime, base_rate: float) -> Evaluation:
        """On the features of the moments at which each attempt was made."""
        table = _timing("schema").completed(attempts)
        history = _timing("history").History(table)
        rows = _timing("schema").retries(table)
        rows = rows.filter(pa.compute.greater_equal(rows["attempted_at"], pa.scalar(since)))
        return measured(rows, model.predict(model.features(rows, history)), base_rate=base_rate)


SEGMENTS = ("account_id", "card_brand", "card_country", "currency")


def measured(rows: pa.Table, chances: NDArray[np.float64], since: datetime, base_rate: float) -> Evaluation:
    """Chances held against attempts in the columns of a training set; who is not known stands for himself by his debt."""
    timing = _timing("evaluate")
    succeeded = rows["succeeded"].to_numpy(zero_copy_only=False).astype(bool)
    known = rows["customer_id"].to_pylist() if "customer_id" in rows.column_names else [None] * rows.num_rows
    customers = [str(who or debt) for who, debt in zip(known, rows["debt_id"].to_pylist(), strict=True)]
    codes = np.unique(np.array(customers, dtype=str), return_inverse=True)[1]
    executed = timing.Executed(succeeded, codes, np.array(_names(rows, "category"), dtype=str))
    found = timing.evaluate(executed, chances, base_rate)
    added = parts(
        chances,
        succeeded,
        attempt_ids=[str(name) for name in rows["attempt_id"].to_pylist()],
        customers=customers,
        segments={name: _names(rows, name) for name in SEGMENTS if name in rows.column_names},
        base_rate=base_rate,
        since=since.isoformat(),
    )
    return cast("Evaluation", {**found, **added})


def _names(rows: pa.Table, name: str) -> list[str]:
    if name not in rows.column_names:
        return ["unknown"] * rows.num_rows
    return [str(value or "unknown") for value in rows[name].to_pylist()]


def _timing(name: str) -> Any:
    return import_module(f"tinko_pipelines.model.timing.{name}")
