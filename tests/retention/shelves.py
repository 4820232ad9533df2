"""A lake with pages of some days, and rolling them up for ever: to be killed while it does."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from tests.lake.stripe_objects import charge
from tinko_pipelines.gateway.bulk import API_VERSION
from tinko_pipelines.lake.raw import ENDING, KeptPage, packed
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.retention.pages import roll_up

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = datetime(2026, 8, 30, tzinfo=UTC)


def kept(n: int, at: datetime, account: str = "default") -> KeptPage:
    item = charge(f"ch_{n}", int(at.timestamp()))
    body = orjson.dumps({"object": "list", "data": [item], "has_more": False})
    return KeptPage("charges", account, False, at, API_VERSION, False, None, body)


def fill(lake: Lake, days: int, files_a_day: int = 2, account: str = "default") -> list[KeptPage]:
    """Pages of so many days, from `FIRST` on, as ingests would have left them."""
    pages = []
    for day in range(days):
        at = FIRST + timedelta(days=day)
        for number in range(files_a_day):
            page = kept(day * files_a_day + number, at, account)
            name = f"raw/{account}/{at:%Y-%m-%d}/run-{number:06}{ENDING}"
            lake.place.write([(name, packed([page]))])
            pages.append(page)
    return pages


if __name__ == "__main__":
    print("begun", flush=True)
    roll_up(Lake(Path(sys.argv[1])), 1, NOW, apply=True)
