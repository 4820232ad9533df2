"""A small workshop in place of the real one: logistic regression over the hour and the amount, a real skops artefact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.evaluation import Evaluation
from tinko_pipelines.model.workshop import Made, TimingModel, between, measured

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SmallModel:
    regression: Any

    def predict(self, hours: Any, amounts: Any) -> Any:
        return self.regression.predict_proba(features(hours, amounts))[:, 1]

    def score(self, table: pa.Table, moments: Sequence[datetime], history: Any, now: datetime) -> Any:
        assert history == "history"
        hours = [moment.hour for moment in moments]
        amounts = table["amount_minor"].to_pylist()
        return np.array([self.predict(hours, [amount] * len(hours)) for amount in amounts])


def features(hours: Any, amounts: Any) -> Any:
    turn = np.asarray(hours, dtype=float) / 24 * 2 * np.pi
    return np.column_stack([np.sin(turn), np.cos(turn), np.log1p(np.asarray(amounts, dtype=float))])


class SmallWorkshop:
    """`noise` spoils what it learns from, so that a worse model can be had."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def train(self, attempts: pa.Table, now: datetime, in_use: TimingModel | None = None) -> Made:
        import skops.io
        from sklearn.linear_model import LogisticRegression

        moments = attempts["attempted_at"].to_pylist()
        cut = sorted(moments)[int(len(moments) * 0.6)]
        early = attempts.filter(pa.compute.less(attempts["attempted_at"], pa.scalar(cut)))
        came = np.array(early["succeeded"].to_pylist())
        swapped = np.random.default_rng(1).random(len(came)) < self.noise
        regression = LogisticRegression(C=10.0, max_iter=500).fit(
            features(
                [at.hour for at in early["attempted_at"].to_pylist()], early["amount_minor"].to_pylist()
            ),
            np.where(swapped, ~came, came),
        )
        evaluation = self.evaluate(SmallModel(regression), attempts, cut, max(moments), float(came.mean()))
        window = {"from": min(moments).isoformat(), "until": max(moments).isoformat()}
        return Made(
            skops.io.dumps(regression),
            {"evaluation": evaluation, "data_window": window},
            "<title>A small model</title>",
        )

    def loads(self, artefact: bytes) -> SmallModel:
        import skops.io

        try:
            return SmallModel(skops.io.loads(artefact, trusted=[]))
        except Exception as error:
            raise StoreError(f"no small model: {error}") from error

    def read(self, path: Path, outcome: str) -> pa.Table:
        table = pq.read_table(path)
        return table.rename_columns(["succeeded" if name == outcome else name for name in table.column_names])

    def history(self, attempts: pa.Table) -> Any:
        return "history"

    def evaluate(
        self, model: Any, attempts: pa.Table, since: datetime, until: datetime, base_rate: float
    ) -> Evaluation:
        rows = between(attempts, since, until)
        hours = [at.hour for at in rows["attempted_at"].to_pylist()]
        return measured(rows, model.predict(hours, rows["amount_minor"].to_pylist()), since, until, base_rate)


def attempts(count: int = 4_000, *, best_hour: int = 18, seed: int = 0, start: datetime = START) -> pa.Table:
    """Attempts that pass most often around the best hour, two hours apart, of 400 customers."""
    draw = np.random.default_rng(seed)
    moments = [start + timedelta(minutes=61 * number) for number in range(count)]
    away = np.array([min((at.hour - best_hour) % 24, (best_hour - at.hour) % 24) for at in moments])
    chance = 1 / (1 + np.exp(-(1.5 - away * 0.35)))
    return pa.table(
        {
            "attempt_id": [f"at_{number}" for number in range(count)],
            "account_id": ["default"] * count,
            "debt_id": [f"in_{number}" for number in range(count)],
            "customer_id": [f"cus_{number}" for number in draw.integers(0, 400, count)],
            "attempted_at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "succeeded": pa.array(draw.random(count) < chance),
            "amount_minor": pa.array(draw.integers(500, 9_000, count), pa.int64()),
            "currency": ["usd"] * count,
            "category": draw.choice(["insufficient_funds", "do_not_honor"], count).tolist(),
            "card_brand": draw.choice(["visa", "mastercard"], count).tolist(),
        }
    )
