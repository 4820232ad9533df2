"""A build of everything, added days and what analysts ask, at a tenth of the size and at the size; pandas beside them.

`python -m benchmarks.reports --charges 10000000`. CPU-seconds of SQL are what DuckDB takes of dbt's process: to open the
warehouse, for every statement, tests among them, and to close it. Days' builds must leave what a build of everything leaves, and pandas must make what the warehouse
holds, or this ends with an error.
Each line says how busy the machine was; `build/reports` holds the worlds, and is emptied at the end unless `--keep`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.reports.measure import built, watched
from benchmarks.reports.queries import asked
from benchmarks.reports.same import unlike
from benchmarks.reports.world import World
from tests.reports.test_mending import differences
from tinko_pipelines.reports.dbt_runner import built_mark
from tinko_pipelines.reports.snapshot import publish
from tinko_pipelines.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SIZE = 10_000_000
AIMS = {
    "everything, CPU-seconds of SQL": 75.0,
    "everything, resident MB": 3000.0,
    "a day, CPU-seconds of SQL": 6.0,
    "a day, times that of a tenth of the size": 1.5,
    "everything through Dagster, seconds": 120.0,
    "a day through Dagster, seconds": 15.0,
    "queries of marts, p95 in ms": 50.0,
    "one debt, p95 in ms": 200.0,
}
"""What is aimed at with that many charges, in the order in which it is told at the end."""


def settings_of(folder: Path) -> Settings:
    """A state folder that talks to nobody."""
    return load_settings(state=folder, stripe_api_base="http://127.0.0.1:1")


def told(what: str, **values: Any) -> None:
    """One line of what was measured, with the load it was measured under."""
    load = round(os.getloadavg()[0], 1)
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in values.items()}
    print(json.dumps({"what": what, **rounded, "load": load}), flush=True)


def measure(what: str, world: World, *, whole: bool) -> tuple[float, float]:
    """Build, and tell what it took; CPU-seconds of SQL, and the greatest resident MB."""
    seen, nodes, was_whole = built(world.settings, world.now, whole=whole)
    assert was_whole == whole, f"{what}: everything was made anew"
    dearest = sorted(nodes.items(), key=lambda one: -one[1])[:8]
    told(
        what,
        charges=world.charges,
        sql_cpu_seconds=seen.sql_cpu_seconds,
        dbt_cpu_seconds=seen.cpu_seconds - seen.sql_cpu_seconds,
        wall_seconds=seen.wall_seconds,
        peak_mb=seen.peak_mb,
        dearest={name.split(".")[2]: round(seconds, 2) for name, seconds in dearest},
    )
    return seen.sql_cpu_seconds, seen.peak_mb


def through_dagster(what: str, world: World) -> float:
    """The same through Dagster's command line, tests and all; seconds by the clock."""
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "job",
        "execute",
        "-f",
        "benchmarks/reports/front.py",
        "-j",
        "marts",
    ]
    state = {
        "TINKO_STATE": str(world.settings.state),
        "MARTS_AS_OF": world.now.isoformat(),
        "PYTHONPATH": str(ROOT),
    }
    with watched() as seen:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | state, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    told(what, charges=world.charges, wall_seconds=seen.wall_seconds, cpu_seconds=seen.cpu_seconds)
    return seen.wall_seconds


def days(worlds: list[World]) -> list[float]:
    """Let three days pass in each world, by turns, since what a CPU-second is worth drifts; the median of each, CPU-seconds of SQL."""
    taken: list[list[float]] = [[] for _ in worlds]
    for _ in range(3):
        for world, its in zip(worlds, taken, strict=True):
            told("files written by a day", **world.add_day())
            its.append(measure("a day more", world, whole=False)[0])
    return [median(its) for its in taken]


def compared(world: World) -> None:
    """Build everything once more, and hold what was mended to it."""
    mended = world.settings.warehouse_path.with_name("mended.duckdb")
    shutil.copy(world.settings.warehouse_path, mended)
    measure("everything again", world, whole=True)
    found = differences(mended, world.settings.warehouse_path)
    told("rows that differ from a build of everything", charges=world.charges, differences=found)
    assert not found
    mended.unlink()


def by_dagster(world: World) -> tuple[float, float]:
    """Everything, then three days; seconds by the clock of the first, and the median of the others."""
    built_mark(world.settings).unlink()  # without it nothing is mended
    whole = through_dagster("everything through Dagster", world)
    its = []
    for _ in range(3):
        world.add_day()
        its.append(through_dagster("a day more through Dagster", world))
    return whole, median(its)


def used(world: World) -> dict[str, float]:
    """Publish the snapshot, and ask it; milliseconds."""
    with watched() as seen:
        publish(world.settings)
    told(
        "snapshot",
        charges=world.charges,
        megabytes=world.settings.snapshot_path.stat().st_size / 1e6,
        wall_seconds=seen.wall_seconds,
    )
    found = asked(world.settings)
    told("queries", charges=world.charges, **found)
    return found


def contender(world: World) -> None:
    """The same marts in pandas, from the same Parquet; what they hold must be what the warehouse holds."""
    into = world.settings.state / "pandas"
    command = [
        sys.executable,
        "-m",
        "benchmarks.reports.contender",
        str(world.settings.state),
        world.now.isoformat(),
        str(into),
    ]
    with watched() as seen:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    different = unlike(world.settings.warehouse_path, into)
    told(
        "pandas, the same marts",
        charges=world.charges,
        marts=len(json.loads(done.stdout)),
        cpu_seconds=seen.cpu_seconds,
        wall_seconds=seen.wall_seconds,
        peak_mb=seen.peak_mb,
        differences=different,
    )
    if different:
        raise SystemExit("pandas and the warehouse differ: " + json.dumps(different))
    shutil.rmtree(into)


def main() -> int:
    """Measure a tenth of the size, then the size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--charges", type=int, default=SIZE)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "reports")
    parser.add_argument("--keep", action="store_true", help="leave the worlds, to measure again")
    given = parser.parse_args()
    worlds = [
        World(settings_of(given.folder / str(charges)), charges)
        for charges in (given.charges // 10, given.charges)
    ]
    for world in worlds:
        sql, peak = measure("everything", world, whole=True)
    small, great = days(worlds)
    told(
        "a day at the size, against a tenth of it",
        medians=[round(small, 2), round(great, 2)],
        ratio=great / small,
    )
    for world in worlds:
        compared(world)
        clock_whole, clock_day = by_dagster(world)
        asked_of = used(world)
        contender(world)
    found = [sql, peak, great, great / small, clock_whole, clock_day, *asked_of.values()]
    for aim, number in zip(AIMS, found, strict=True) if given.charges == SIZE else ():
        told("aim", of=aim, found=number, at_most=AIMS[aim], met=number <= AIMS[aim])
    if not given.keep:
        shutil.rmtree(given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
