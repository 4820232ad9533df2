"""After a bad day at most one reading of the days makes the lake what Stripe shows, and says what it repaired."""

import os
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lake.chaos import NEXT_VERSION, Chaos, is_lost
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake.changes import EVENTS_KEPT, ingest_changes
from tinko_pipelines.lake.deep import reconcile_days
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess

SINCE_DAYS = 60
LOOKS = 12


def rows(lake: Lake, name: str) -> dict[str, Any]:
    # An event stays as it was first told, in the version of that day.
    table = lake.table(name).drop_columns(["fetched_at", "version_at", "api_version"])
    table = table.drop_columns(["rendered_in"]) if name == "events" else table
    return {row["id"]: row for row in table.to_pylist() if not row["deleted"] and not is_lost(row["id"])}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [int(one) for one in os.environ.get("TINKO_CHAOS_SEEDS", "1").split(",")])
def test_a_lake_filled_on_a_bad_day_is_made_good_by_one_reading(seed: int, tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox", seed=seed, charges=400, history_days=40) as sandbox:
        client = SandboxClient(sandbox.base)
        chaos = Chaos(sandbox.base, seed, version_changes_after=220, life_every=40)
        try:
            now = client.now()

            def reader() -> BulkReader:
                return BulkReader(
                    "sk_test_tinko_sandbox", chaos.base, "default", sleep=lambda _: None, now=client.now
                )

            lake = Lake(tmp_path / "lake")
            for _ in range(LOOKS):
                reading = reader()
                ingest_changes(reading, lake, now=client.now(), since_days=SINCE_DAYS)
                reading.close()
                client.advance_to(client.now() + timedelta(hours=3))
            chaos.calm()
            since = now - timedelta(days=SINCE_DAYS)
            end = client.now()
            reading = reader()
            days = [(since + timedelta(days=day)).date() for day in range((end - since).days + 2)]
            found = reconcile_days(reading, lake, days, now=end, undated_too=True)
            truth = Lake(tmp_path / "truth")
            ingest(reading, truth, since=since, now=end + timedelta(seconds=1))
            reading.close()
        finally:
            chaos.close()
        for name in OBJECTS:
            known, shown = rows(lake, name), rows(truth, name)
            if name == "events":  # Older ones Stripe is about to forget.
                kept_since = datetime.combine((end - EVENTS_KEPT).date(), time(), UTC)
                shown = {one: row for one, row in shown.items() if row["created_at"] >= kept_since}
            missing, wrong = (
                shown.keys() - known.keys(),
                [one for one in shown if known.get(one) != shown[one]],
            )
            shown_wrong = [(known.get(one), shown[one]) for one in wrong[:2]]
        assert (name, len(missing), wrong[:3]) == (name, 0, []), shown_wrong
        assert found.repaired > 0
        assert found.differences
        assert (
            min(
                chaos.met[kind]
                for kind in ("lost", "late", "doubled", "storm", "garbled", "truncated", "life")
            )
            > 0
        )
        assert NEXT_VERSION in lake.table("charges")["api_version"].unique().to_pylist()
        extras = [row["extra"] for row in lake.table("charges").to_pylist()]
        assert all(extra is not None and "settlement_promise" in extra for extra in extras)


def test_the_days_that_are_due() -> None:
    from tinko_pipelines.lake.deep import days_to_read

    moment = datetime.fromisoformat("2026-11-25T00:10:00+00:00")
    assert [str(day) for day in days_to_read(moment)] == [
        "2026-11-24",
        "2026-11-18",
        "2026-10-21",
        "2026-07-28",
    ]
