"""Attempts made up: debts that fail, are tried again and pass when a hidden rule of hour, category and customer lets them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tinko_pipelines.model.timing.schema import MOMENT

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
CHANCES = {"insufficient_funds": 0.35, "do_not_honor": 0.2, "issuer_unavailable": 0.6, "account_closed": 0.05}
NAMES = tuple(CHANCES)


def invented(debts: int = 1_500, seed: int = 0, tries: int = 3) -> pa.Table:
    """A table in the documented columns; retries pass more often at daytime, and for customers that pay well."""
    random = np.random.default_rng(seed)
    customer = random.integers(0, debts * 2 // 3, debts)
    good = random.random(debts) < 0.5
    category = random.integers(0, len(NAMES), debts)
    began = random.integers(0, 150 * 86_400, debts)
    gap = random.integers(86_400, 4 * 86_400, (debts, tries))
    at = began[:, None] + np.cumsum(np.c_[np.zeros((debts, 1), np.int64), gap], axis=1)
    hour = at // 3600 % 24
    chance = np.array(list(CHANCES.values()))[category][:, None] * np.where(
        (hour > 8) & (hour < 20), 1.3, 0.6
    )
    passed = random.random(at.shape) < chance * np.where(good[customer % debts], 1.2, 0.8)[:, None]
    passed[:, 0] = False
    made = np.cumsum(np.cumsum(passed, axis=1), axis=1) <= 1
    rows, which = np.nonzero(made)
    return pa.table(
        {
            "attempt_id": [f"at_{row}_{number}" for row, number in zip(rows, which, strict=True)],
            "account_id": np.where(rows % 7 == 0, "eu", "us"),
            "debt_id": [f"in_{row}" for row in rows],
            "customer_id": [f"cus_{one}" for one in customer[rows]],
            "card_fingerprint": [f"fp_{one}" for one in customer[rows]],
            "attempted_at": moments(BEGAN, at[rows, which]),
            "succeeded": passed[rows, which],
            "amount_minor": 500 + random.integers(0, 20_000, debts)[rows],
            "currency": np.where(rows % 7 == 0, "eur", "usd"),
            "category": pa.array([NAMES[one] for one in category[rows]], mask=which == 0),
            "decline_code": pa.array([NAMES[one] for one in category[rows]], mask=which == 0),
            "card_brand": np.where(rows % 3 == 0, "mastercard", "visa"),
            "card_funding": np.where(rows % 2 == 0, "debit", "credit"),
            "card_country": np.where(rows % 5 == 0, "DE", "US"),
            "source": np.where(rows % 2 == 0, "stripe", "ours"),
        }
    )


def moments(start: datetime, seconds: np.ndarray) -> pa.Array:
    first = int(start.timestamp())
    return pa.array((first + seconds) * 1_000_000, pa.int64()).cast(MOMENT)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with another column in that one's place."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, pa.chunked_array([values]))
    return table.append_column(name, pa.chunked_array([values]))


def hours(count: int, start: datetime = NOW) -> list[datetime]:
    return [start + timedelta(hours=number) for number in range(count)]
