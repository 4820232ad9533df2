"""`tinko retention`: what is kept longer than the settings want, told; and removed with `--yes`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, show
from tinko_pipelines.errors import StoreError
from tinko_pipelines.retention.freed import NEVER, Freed
from tinko_pipelines.settings import Settings
from tinko_pipelines.terminal import show_rows

DAGSTER_SECONDS_MAX = 3600
PURGE_RUNS = "from sensors.retention import main; main()"
"""The program that looks through Dagster's runs: the number of days, and `--yes`."""


def retention(
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; otherwise it is only told what would go.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Roll up and remove what the settings want kept no longer; changes nothing without `--yes`."""
    app = application()
    needs_ledger(app)
    with err.status("Removing" if yes else "Looking"):
        found = [*app.retention(apply=yes), _runs(app.settings, apply=yes)]
    if as_json:
        show({"applied": yes, "freed": found, "never": NEVER}, as_json)
        return
    show_rows(["store", "by", "files", "rows", "MB", ""], [_line(one) for one in found])
    typer.echo(f"never removed: {'; '.join(NEVER)}")
    typer.echo("done" if yes else "nothing is changed: say --yes to do it")


def _line(one: Freed) -> list[Any]:
    left = f"{one.left} are left to the next run" if one.left else ""
    size = f"{one.size_bytes / 1e6:.1f}" if one.size_bytes else ""
    return [
        one.store,
        one.setting,
        one.files or "",
        one.rows or "",
        size,
        "; ".join(filter(None, (one.note, left))),
    ]


def _runs(settings: Settings, *, apply: bool) -> Freed:
    """Dagster's runs, asked of Dagster in a process of its own: nothing here knows it."""
    days = settings.retention_runs_days
    kept = Freed("dagster: runs", f"TINKO_RETENTION_RUNS_DAYS={days}")
    home = Path(os.environ.get("DAGSTER_HOME") or settings.state / "dagster")
    if not days or not (home / "dagster.yaml").exists():
        return kept
    command = [sys.executable, "-c", PURGE_RUNS, str(days), *(["--yes"] if apply else [])]
    done = subprocess.run(  # noqa: S603
        command,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DAGSTER_SECONDS_MAX,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise StoreError(f"Dagster's runs cannot be looked through: {last}; all other stores are done")
    return Freed(kept.store, kept.setting, **json.loads(done.stdout.strip().splitlines()[-1]))
