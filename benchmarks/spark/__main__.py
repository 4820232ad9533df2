"""Whether a cluster of Spark comes to what one machine comes to: `python -m benchmarks.spark`, or `make spark`.

The marts by the same dbt models, verdicts and scores by the same functions; one line for each thing compared, and an
exit code of 1 when anything differs. `--charges` says how large the lake is to be, `--break MART` alters one row of what
Spark built, to show that it is seen.
"""

import argparse
import os
import resource
import shutil
import sys
import time
from pathlib import Path

from benchmarks.spark import compare, lake, place, processes, tasks
from tests.reports.history import AS_OF
from tinko_pipelines.reports.dbt_runner import build, dbt_environment

BUILD_SECONDS_MAX = 3600.0
SCORE_SECONDS_MAX = 900.0


def main() -> None:
    """Build both ways, compare, and say so."""
    asked = _arguments()
    home: Path = asked.home.resolve()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; files below {home}", flush=True)
    place.program("python")
    good = True
    if "marts" in asked.only:
        good &= _marts(home / "marts", asked)
    if "scores" in asked.only:
        good &= _scores(home / "scores")
    print("PASS" if good else "FAIL")
    sys.exit(not good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make spark", description=__doc__)
    parser.add_argument(
        "--charges", type=int, default=10_000, help="at least so many; 0 for the hand-made ones alone"
    )
    parser.add_argument(
        "--break", dest="spoilt", metavar="MART", help="alter one row of this mart before comparing"
    )
    parser.add_argument("--only", nargs="+", choices=("marts", "scores"), default=("marts", "scores"))
    parser.add_argument("--no-tests", action="store_true", help="leave out dbt's data tests on Spark")
    parser.add_argument(
        "--home", type=Path, default=place.ROOT / "build" / "spark-run", help="where files are put"
    )
    return parser.parse_args()


def _marts(home: Path, asked: argparse.Namespace) -> bool:
    """Whether every mart is the same."""
    made = lake.write(home / "lake", asked.charges)
    print(
        f"lake: {made.charges:,} charges, {made.debts:,} failed debts, {made.rows:,} rows, {made.bytes / 1e6:.1f} MB"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    one = build(made.settings, AS_OF)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"DuckDB: {one.models} models and {one.tests} data tests in {one.seconds:.0f} s, {used:.0f} CPU-s, of which"
        f" {sum(node.seconds for node in one.nodes):.0f} s in models and tests", flush=True,
    )  # fmt: skip
    spark = home / "spark"
    spark.mkdir()
    # Executors run elsewhere than dbt does.
    paths = {
        name: str(made.settings.state / path)
        for name, path in dbt_environment(made.settings).items()
        if name.startswith("TINKO_DBT_")
    }
    environment = place.variables(spark) | dbt_environment(made.settings) | paths | {
        "DBT_TARGET_PATH": str(spark / "target"), "DBT_LOG_PATH": str(spark / "logs"),
        "TINKO_DBT_AS_OF": AS_OF.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip
    dbt = [place.program("dbt"), "--no-version-check", "--no-use-colors"]
    sources = home / "sources.log"
    named = processes.run(
        [*dbt, "run-operation", "spark_sources", "--target", "spark"], environment, spark, sources, BUILD_SECONDS_MAX
    )  # fmt: skip
    if named.code != 0:
        print(f"dbt could not name the sources on Spark: {sources.read_text(errors='replace')[-3000:]}")
        return False
    command = [*dbt, "run"] if asked.no_tests else [*dbt, "build", "--exclude-resource-type", "unit_test"]
    log = home / "spark.log"
    ended = processes.run([*command, "--target", "spark"], environment, spark, log, BUILD_SECONDS_MAX)
    lines = log.read_text(errors="replace").splitlines()
    work = place.work_of(spark)
    print(f"Spark: {next((line[10:] for line in lines if 'Done. PASS' in line), 'nothing')}")
    print(
        f"  {ended.seconds:.0f} s, {ended.cpu_seconds:.0f} CPU-s, at most {ended.peak_mb:,.0f} MB; {work.told()}"
    )
    if ended.code != 0:
        print("\n".join([*lines[-40:], f"dbt on Spark ended with {ended.code}; all it said is in {log}"]))
    if asked.spoilt:
        compare.spoil(spark / "warehouse" / "main.db", asked.spoilt)
    found = compare.compare(made.settings.warehouse_path, spark / "warehouse" / "main.db")
    print("\n".join(one.told() for one in found), flush=True)
    same = [one for one in found if one.same]
    print(f"{len(same)} of {len(found)} marts are the same, {sum(one.rows for one in same):,} rows")
    return ended.code == 0 and len(same) == len(found) and len(work.tasks) == place.EXECUTORS


def _scores(home: Path) -> bool:
    """Whether verdicts and scores are the same."""
    task = tasks.prepare(home)
    script = str(Path(__file__).with_name("scoring.py"))
    began = time.monotonic()
    command = [place.program("python"), script, str(home), place.MASTER]
    ended = processes.run(command, place.variables(home), home, home / "spark.log", SCORE_SECONDS_MAX)
    if ended.code != 0:
        print(f"Spark ended with {ended.code}: {(home / 'spark.log').read_text(errors='replace')[-3000:]}")
        return False
    work = place.work_of(home)
    print(
        f"verdicts and scores on Spark: {time.monotonic() - began:.0f} s, {ended.cpu_seconds:.0f} CPU-s, {work.told()}"
    )
    found = tasks.differences(home, task)
    print("\n".join(f"  {line}" for line in found.lines))
    return found.same and len(work.tasks) == place.EXECUTORS


if __name__ == "__main__":
    main()
