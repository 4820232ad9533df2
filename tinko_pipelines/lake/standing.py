"""How fresh the lake is, what is still to be read, and what was set aside: for the people who look after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tinko_pipelines.lake.store import Lake

QUARANTINE_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of one account and mode: up to when all changes are known, and how long ago that is."""

    account_id: str
    mode: str
    fresh_until: datetime
    behind_seconds: float


@dataclass(frozen=True, slots=True)
class OpenBackfill:
    """A back-fill that is under way or was cut short; starting it again goes on with it."""

    name: str
    begun_at: datetime
    covered: float
    ranges_left: int
    pages: int
    rows: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """Objects of one kind that are malformed in one way, and one of their ids."""

    account_id: str
    object_name: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it."""

    freshness: list[Freshness]
    backfills: list[OpenBackfill]
    set_aside: list[SetAside]


def standing(lake: Lake, now: datetime) -> Standing:
    """What is known without asking Stripe."""
    return Standing(
        [_freshness(name, told, now) for name, told in lake.notes("changes-").items()],
        [_backfill(name, told) for name, told in lake.notes("backfill-").items()],
        set_aside(lake),
    )


def set_aside(lake: Lake) -> list[SetAside]:
    """What lies in quarantine, by reason, the most frequent first."""
    with lake.connect("quarantine") as connection:
        rows = connection.execute(
            "SELECT account_id, object_name, reason, count(*), coalesce(min(id), '') FROM quarantine"
            " GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3 LIMIT ?",
            [QUARANTINE_SHOWN_MAX],
        ).fetchall()
    return [SetAside(*row) for row in rows]


def _freshness(name: str, told: Mapping[str, Any], now: datetime) -> Freshness:
    account = name.removeprefix("changes-")
    mode = "live" if account.endswith("-live") else "test"
    until = datetime.fromisoformat(told["read_until"])
    return Freshness(account.removesuffix("-live"), mode, until, max(0.0, (now - until).total_seconds()))


def _backfill(name: str, told: Mapping[str, Any]) -> OpenBackfill:
    return OpenBackfill(
        name.removeprefix("backfill-"),
        datetime.fromisoformat(told["begun_at"]),
        float(told["covered"]),
        len(told["ranges"]),
        int(told["pages"]),
        int(told["rows"]),
    )
