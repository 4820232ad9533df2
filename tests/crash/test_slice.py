"""A slice of the crash campaign: every mode, both databases, PostgreSQL itself killed; and the mutants' targets exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.plan import plan

ROOT = Path(__file__).parents[2]
TRIALS, SEED = 60, 11


@pytest.mark.slow
def test_nothing_is_charged_twice_lost_or_mailed_twice_in_a_slice_of_the_campaign() -> None:
    """In a process of its own, since it forks; a fresh state each time, so that all of it runs."""
    made = [plan(SEED, number) for number in range(TRIALS)]
    assert {(one.mode, one.database) for one in made} == {
        (mode, database)
        for mode in ("faithful", "many_successes", "no_idempotency")
        for database in ("sqlite", "postgresql")
    }
    assert {one.workers for one in made} == {1, 2, 4}
    environment = {**os.environ, "TRIALS": str(TRIALS), "SEED": str(SEED), "FRESH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    found = re.fullmatch(
        r"(\d+) trials, (\d+) cases, (\d+) kill points: 0 double, 0 lost, 0 duplicate mails", last
    )
    assert found is not None, last
    trials, cases, points = map(int, found.groups())
    assert trials == TRIALS
    assert cases >= 6 * TRIALS
    assert points >= TRIALS // 2
