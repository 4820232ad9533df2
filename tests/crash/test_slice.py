"""A slice of the crash campaign: every mode, both databases, PostgreSQL itself killed; and the mutants' targets exist."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.campaign import MEMORY
from tests.crash.plan import plan

ROOT = Path(__file__).parents[2]
TRIALS, SEED = 20, 11


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
    mails = re.search(r"(\d+) mails", done.stdout)
    assert mails is not None
    assert int(mails[1]) >= cases // 2, "mails come to be due at an hour at which they may go out"
    assert points >= TRIALS // 2


def _holds_within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def _working_in(folder: Path) -> list[str]:
    """The processes that hold a file or a folder of it, by command line or by what they have open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [str(one.readlink()) for one in (process / "fd").iterdir()]
            if str(folder) in (process / "cmdline").read_text() + " ".join(held):
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_campaign_that_is_killed_leaves_nothing_behind() -> None:
    environment = {**os.environ, "TRIALS": "60", "SEED": "12", "FRESH": "1"}
    campaign = subprocess.Popen(
        [sys.executable, "-m", "tests.crash"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        mine = f"tinko-crash-{campaign.pid}-*"
        assert _holds_within(120, lambda: bool([*MEMORY.glob(f"{mine}/trial-*/w1.log")]))
        (folder,) = MEMORY.glob(mine)
        assert len(_working_in(folder)) > 2
    finally:
        campaign.kill()
        campaign.wait()
    assert _holds_within(20, lambda: not folder.exists())
    assert _working_in(folder) == []
