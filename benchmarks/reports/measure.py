"""CPU-seconds, wall seconds and memory of a build, and the CPU of each of its models and tests."""

from __future__ import annotations

import os
import resource
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import psutil

from tinko_pipelines.reports import dbt_child, dbt_runner
from tinko_pipelines.reports.dbt_child import Child, NodeResult
from tinko_pipelines.settings import Settings

EVERY_SECONDS = 0.02


@dataclass
class Watched:
    """What the processes begun meanwhile took: CPU and wall seconds, the greatest resident MB, and CPU by moment; of it DuckDB's CPU."""

    cpu_seconds: float = 0.0
    sql_cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_mb: float = 0.0
    moments: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def between(self, start: float, end: float) -> float:
        """CPU-seconds from one moment to another."""
        if not self.moments:
            return 0.0
        last = len(self.moments) - 1
        return (
            self.cpu[min(bisect_left(self.moments, end), last)]
            - self.cpu[min(bisect_left(self.moments, start), last)]
        )


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch the children of this process."""
    seen, over = Watched(), threading.Event()

    def look() -> None:
        me = psutil.Process()
        mine = me.cmdline()
        while not over.wait(EVERY_SECONDS):
            cpu = 0.0
            for child in me.children(recursive=True):
                try:
                    times = child.cpu_times()
                    cpu += times.user + times.system
                    if child.cmdline() != mine:  # until it is another program its memory is ours
                        seen.peak_mb = max(seen.peak_mb, child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue
            seen.moments.append(time.time())
            seen.cpu.append(cpu)

    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seen.wall_seconds = time.monotonic() - began


def built(settings: Settings, as_of: datetime, *, whole: bool) -> tuple[Watched, dict[str, float], bool]:
    """Build once, one model at a time; what it took, the CPU of each node, and whether everything was made anew."""
    ended: list[tuple[NodeResult, float]] = []
    with one_at_a_time(settings.state / "sql-seconds") as told, watched() as seen:
        steps = dbt_runner.building(settings, as_of, whole=whole)
        while True:
            try:
                ended.append((next(steps), time.time()))
            except StopIteration as end:
                result = end.value
                break
    seen.sql_cpu_seconds = float(told.read_text())
    nodes = {node.unique_id: seen.between(end - node.seconds, end) for node, end in ended}
    return seen, nodes, result.whole


@contextmanager
def one_at_a_time(told: Path) -> Iterator[Path]:
    """dbt with one thread, with time enough on a machine that is shared, and telling in a file what DuckDB took; DuckDB keeps its threads."""
    run = Child.run
    with (
        patch.object(Child, "run", lambda self, arguments: run(self, [*arguments, "--threads", "1"])),
        patch.object(dbt_runner, "BUILD_SECONDS_MAX", 3600),
        patch.object(dbt_child, "_PROGRAM", Path(__file__).with_name("timed_dbt.py")),
        patch.dict(os.environ, {"TIMED_DBT": str(told)}),
    ):
        yield told
