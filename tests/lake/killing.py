"""Runs of the ingest killed at random moments and started again: `RUNS=200 SEED=1 python -m tests.lake.killing`.

Each trial has a fresh lake. It is killed up to three times in its first load and up to three times in the look at
changes after it, and then left to end. Its tables must be those of a lake that nobody disturbed, row for row, when each
row was read alone excepted. Everything is imported once; each run is a fork.
"""

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake import intake
from tinko_pipelines.lake.changes import ingest_changes
from tinko_pipelines.lake.intake import reparse
from tinko_pipelines.lake.raw import abandoned
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess

SANDBOX_KEY = "sk_test_tinko_sandbox"
KILLS_MOST = 3
SINCE_DAYS = 200
MERGED_AT_ONCE = 700
"""So few that a run merges several times."""


@dataclass
class Killing:
    """The trials, over one sandbox that stands still."""

    base: str
    now: datetime
    folder: Path
    kills: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    truth: str = ""

    def reader(self, at: datetime) -> BulkReader:
        return BulkReader(SANDBOX_KEY, self.base, "default", now=lambda: at)

    def stages(self) -> dict[str, datetime]:
        """A first load, a look at changes an hour later, as the clock would have it."""
        return {"first": self.now - timedelta(days=2), "changes": self.now}

    def work(self, lake: Path, at: datetime) -> Callable[[], None]:
        def run() -> None:
            intake.MERGED_AT_ONCE = MERGED_AT_ONCE
            reader = self.reader(at)
            ingest_changes(reader, Lake(lake), now=at, since_days=SINCE_DAYS)
            reader.close()

        return run

    def undisturbed(self) -> None:
        """What the tables must hold in the end, and how long each stage takes."""
        lake = self.folder / "undisturbed"
        for name, at in self.stages().items():
            began = time.monotonic()
            assert run_forked(self.work(lake, at)) == 0
            self.seconds[name] = time.monotonic() - began
        self.truth = self.content(lake)

    def content(self, lake: Path) -> str:
        """A hash of all rows but of when they were read, and of what must not be left over."""
        told = lake / "told.json"

        def look() -> None:
            opened = Lake(lake)
            rows = {
                name: opened.table(name).drop_columns(["fetched_at", "version_at"]).sort_by("id").to_pylist()
                for name in OBJECTS
            }
            left = [one.run for one in abandoned(opened.root)] + list(opened.notes("backfill"))
            text = json.dumps([rows, left, opened.quarantined()], default=str)
            told.write_text(
                json.dumps([hashlib.sha256(text.encode()).hexdigest(), sum(map(len, rows.values()))])
            )

        assert run_forked(look) == 0
        return told.read_text()

    def trial(self, number: int, rng: random.Random) -> list[str]:
        """What is wrong with the lake that was killed on its way."""
        lake = self.folder / f"lake-{number}"
        for name, at in self.stages().items():
            for _ in range(rng.randint(1, KILLS_MOST)):
                code = run_forked(self.work(lake, at), rng.uniform(0.0, self.seconds[name] * 1.05))
                self.kills += code == -signal.SIGKILL
                if code not in (0, -signal.SIGKILL):
                    return [f"{name}: a run ended with {code}"]
            if run_forked(self.work(lake, at)) != 0:
                return [f"{name}: the last run failed"]
        found = self.content(lake)
        return [] if found == self.truth else [f"the lake holds {found}, undisturbed {self.truth}"]

    def parsed_again(self, number: int) -> list[str]:
        """The kept pages alone must make the same tables."""
        lake = self.folder / f"lake-{number}"
        os.rename(lake / "tables", lake / "tables-before")  # noqa: PTH104

        def work() -> None:
            reparse(Lake(lake))

        assert run_forked(work) == 0
        return [] if self.content(lake) == self.truth else ["the kept pages make other tables"]


def run_forked(work: Callable[[], None], kill_after_seconds: float | None = None) -> int:
    """Do something in a fork of this process, and kill it in the midst of it; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after_seconds is not None:
        time.sleep(kill_after_seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> int:
    """So many trials; the last line says what came of them."""
    runs, seed = int(os.environ.get("RUNS", "200")), int(os.environ.get("SEED", "1"))
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tinko-kill-") as home:
        folder = Path(home)
        with SandboxProcess(folder / "sandbox", seed=seed, charges=500, history_days=40) as sandbox:
            killing = Killing(sandbox.base, SandboxClient(sandbox.base).now(), folder)
            killing.undisturbed()
            for number in range(runs):
                found = killing.trial(number, random.Random(f"{seed}:{number}"))
                if number % 20 == 0:
                    found += killing.parsed_again(number)
                wrong += [f"trial {number}: {text}" for text in found]
                for text in found:
                    print(f"trial {number}: {text}", flush=True)
        print(f"{runs} trials, {killing.kills} kills, {len(wrong)} lakes that differ; {killing.truth} rows")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
