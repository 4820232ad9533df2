"""Running trials side by side, each forked from this process, which has imported everything once."""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tinko_pipelines
from tests.crash import offspring
from tests.crash.offspring import Keeper
from tests.crash.plan import Plan
from tests.crash.postgres import Cluster
from tests.crash.trial import Trial
from tinko_pipelines.ledger.store import Ledger

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
MOST_SECONDS = 120.0
"""After so long a trial counts as hanging."""


def import_everything() -> None:
    """So that no trial pays for it; from now on, being asked to end means to clear away first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for found in pkgutil.walk_packages(tinko_pipelines.__path__, "tinko_pipelines."):
        if (
            not found.name.endswith(("definitions", "__main__", "migrations.env"))
            and ".versions." not in found.name
        ):
            importlib.import_module(found.name)
    for name in (
        "sqlalchemy.dialects.sqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
        "duckdb",
        "requests",
    ):
        importlib.import_module(name)


@dataclass
class Running:
    """One trial under way."""

    plan: Plan
    folder: Path
    began: float
    exclusive: bool


@dataclass
class Ground:
    """What trials stand on: a folder in memory, a ledger to copy, PostgreSQL to clone and another to kill.

    All of it lies in the folder, and goes with it when the campaign ends.
    """

    root: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix=f"tinko-crash-{os.getpid()}-", dir=MEMORY))
    )
    _clusters: dict[bool, Cluster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.chmod(0o755)  # for PostgreSQL, which runs as somebody else
        self._keeper = Keeper(self.root)
        self.template = self.root / "template.db"
        ledger = Ledger.open(f"sqlite:///{self.template}")
        ledger.migrate()
        with ledger.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        ledger.close()

    def cluster(self, plan: Plan) -> Cluster | None:
        """The PostgreSQL of a trial; started when first needed."""
        if plan.database == "sqlite":
            return None
        if plan.database_dies not in self._clusters:
            folder = self.root / ("postgres-durable" if plan.database_dies else "postgres")
            self._clusters[plan.database_dies] = Cluster(folder, durable=plan.database_dies)
        return self._clusters[plan.database_dies]

    def close(self) -> None:
        """To be called when no trial runs any more."""
        self._keeper.release()


def run(
    plans: Callable[[], Plan | None], done: Callable[[Plan, dict[str, Any]], None], ground: Ground, slots: int
) -> None:
    """Run what `plans` gives until it gives None, `slots` at a time; `done` hears of each as it ends."""
    running: dict[int, Running] = {}
    gc.collect()
    gc.freeze()
    try:
        _keep_running(plans, done, ground, slots, running)
    finally:
        for pid in running:
            _end_all_of(pid)
            os.waitpid(pid, 0)


def _keep_running(
    plans: Callable[[], Plan | None],
    done: Callable[[Plan, dict[str, Any]], None],
    ground: Ground,
    slots: int,
    running: dict[int, Running],
) -> None:
    waiting: list[Plan] = []
    more = True
    while more or running or waiting:
        while len(running) < slots and (more or waiting):
            busy = any(one.exclusive for one in running.values())
            plan = next((one for one in waiting if not (one.database_dies and busy)), None)
            if plan is not None:
                waiting.remove(plan)
            elif more and len(waiting) < slots:
                plan = plans()
                more = plan is not None
                if plan is not None and plan.database_dies and busy:
                    waiting.append(plan)
                    continue
            if plan is None:
                break
            _start(plan, ground, running)
        if running:
            _reap(running, done)


def _start(plan: Plan, ground: Ground, running: dict[int, Running]) -> None:
    cluster = ground.cluster(plan)
    folder = Path(tempfile.mkdtemp(prefix=f"trial-{plan.number}-", dir=ground.root))
    pid = offspring.fork()
    if pid:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        running[pid] = Running(plan, folder, time.monotonic(), plan.database_dies)
        return
    code = 1
    try:
        os.setpgid(0, 0)
        trial = Trial(plan, folder, ground.template, cluster)
        try:
            result = trial.run()
        finally:
            trial.close()
        (folder / "result.json").write_text(json.dumps(result))
        code = 0
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _reap(running: dict[int, Running], done: Callable[[Plan, dict[str, Any]], None]) -> None:
    """Wait for one of them, or look for those that hang."""
    pid, _, usage = os.wait4(-1, os.WNOHANG)
    if pid == 0:
        for hanging, one in running.items():
            if time.monotonic() - one.began > MOST_SECONDS:
                _end_all_of(hanging)
        time.sleep(0.02)
        return
    one = running.pop(pid, None)
    if one is None:
        return
    told, error = one.folder / "result.json", one.folder / "error.txt"
    if told.exists():
        result = json.loads(told.read_text())
    else:
        why = error.read_text().strip().splitlines()[-6:] if error.exists() else ["it hung and was ended"]
        result = {
            "mode": one.plan.mode,
            "database": one.plan.database,
            "workers": one.plan.workers,
            "lake": one.plan.lake,
            "targets": list(one.plan.targets),
            "violations": ["broken: the trial itself failed: " + " / ".join(why)],
        }
    _end_all_of(pid)
    result["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    result["wall_seconds"] = time.monotonic() - one.began
    done(one.plan, result)
    shutil.rmtree(one.folder, ignore_errors=True)


def _end_all_of(trial: int) -> None:
    """A trial and whatever it has begun."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(trial, signal.SIGKILL)
