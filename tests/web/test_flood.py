"""Thousands of events at once, doubled and shuffled, and the server killed in between: each is kept and handled once."""

import os
import random
from pathlib import Path
from threading import Timer
from typing import Any

import pyarrow.compute as pc
import pytest

from tests.retry.shop import Shop
from tests.web.serving import event, served_by, serving
from tests.web.test_webhooks import rows
from tinko_pipelines.sandbox.process import SandboxProcess

MANY = {"sqlite": 6_000, "postgresql": 3_000}
ASKED = int(os.environ.get("TINKO_FLOOD", "0"))
"""So many instead, on either ledger: `make flood`."""
WORKERS = 8
KILLS = 3
KILLED_AFTER_SECONDS = 0.7
"""How fast the door is is measured by `benchmarks.door`, and not here, where other tests run beside it."""


def twice(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them two times, in any order."""
    return random.Random(len(some)).sample(some * 2, len(some) * 2)


@pytest.mark.slow
def test_each_of_many_events_is_handled_once(url: str, tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=20, history_days=2) as process:
        shop = Shop(process.base, tmp_path / "state", ledger_url=url)
        shop.app.ingest_changes()
        at_sandbox = {
            "TINKO_STRIPE_API_BASE": process.base,
            "TINKO_CLOCK": "sandbox",
            "TINKO_LEDGER_URL": url,
        }
        many = ASKED or MANY[url.partition(":")[0].partition("+")[0]]
        told = [event(f"evt_flood{number:05}") for number in range(many)]
        left = twice(told)
        answered: set[str] = set()
        killed = 0
        with serving(tmp_path / "state", **at_sandbox) as served:
            while left:
                # Killed in the midst of it, until that was often enough.
                killer = Timer(KILLED_AFTER_SECONDS, served.kill) if killed < KILLS else None
                if killer is not None:
                    killer.start()
                answers = served_by(served, left, WORKERS)
                if killer is not None:
                    killer.join()
                    killed += 1
                    assert any(status == 0 for status in answers.values()), "it died while it was asked"
                    served.start()
                assert set(answers.values()) <= {0, 200}
                answered |= {name for name, status in answers.items() if status == 200}
                # As Stripe does, what was not answered is sent again.
                left = twice([one for one in told if one["id"] not in answered])
        assert killed == KILLS
        assert answered == {one["id"] for one in told}
        assert sorted(row["event_id"] for row in rows(url)) == sorted(answered)
        done = shop.app.empty_inbox()
        assert (done.marked, done.landed, done.failed) == (many, many, 0)
        again = shop.app.empty_inbox()
        assert (again.marked, again.landed) == (0, 0)
        table = shop.app.lake.table("events")
        ours = table.filter(pc.starts_with(table["id"], "evt_flood"))["id"].to_pylist()
        assert sorted(ours) == sorted(answered)
        print(f"{many} events, each sent twice or more, {killed} kills")
        shop.app.ledger.close()
