"""A slice of the killed runs; the long one is `make crash-ingest`."""

import json
import os
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lake.killing import run_forked
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake.backfill import KEPT_AT_ONCE, QUEUE_MOST, WORKERS_WITHOUT_LIMIT, Left
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.lake.store import Lake

CHARGES, SINCE, UNTIL = 9_000, datetime(2025, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_in_the_lake_of_an_undisturbed_one() -> None:
    asked = os.environ | {"RUNS": "8", "SEED": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.lake.killing"], env=asked, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()[-1]
    assert said.startswith("8 trials, ")
    assert int(said.split()[2]) >= 8, "hardly any run was killed"
    assert ", 0 lakes that differ" in said


def asked_of(base: str) -> int:
    with urllib.request.urlopen(f"{base}/_corpus") as answer:
        found: dict[str, Any] = json.load(answer)
    return int(found["pages"])


def test_a_killed_run_reads_again_no_more_than_the_pages_in_flight(tmp_path: Path) -> None:
    options = ("--charges", str(CHARGES), "--latency-seconds", "0.02")
    command = [sys.executable, "-m", "tinko_pipelines.sandbox.corpus", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        base = server.stdout.readline().removeprefix("ready ").strip()

        def work(die_after_pages: int) -> None:
            def progress(left: Left) -> None:
                if left.pages >= die_after_pages:
                    os.kill(os.getpid(), 9)

            reader = BulkReader("sk_test_x", base, "default")
            lake = Lake(tmp_path)
            found = ingest(reader, lake, objects=["charges"], since=SINCE, now=UNTIL, progress=progress)
            assert lake.table("charges").num_rows == CHARGES
            assert found["charges"].pages < CHARGES // 100

        try:
            assert run_forked(lambda: work(30)) == -9
            assert run_forked(lambda: work(30)) == -9
            assert run_forked(lambda: work(10**9)) == 0
            flights = 2 * (WORKERS_WITHOUT_LIMIT + QUEUE_MOST + KEPT_AT_ONCE)
            assert asked_of(base) <= 1.1 * CHARGES / 100 + flights
        finally:
            server.stdin.close()
