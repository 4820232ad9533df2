"""The main job from end to end in a few minutes, against the bundled sandbox and on its clock.

Everything is launched as Dagster runs of the same jobs that sensors and schedules start in earnest; only the
passing of time is staged here. Nothing imports this but the command line.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tinko_pipelines.app import App
from tinko_pipelines.errors import StoreError, TinkoError
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import Settings, load_settings
from tinko_pipelines.ui import QUIET_FILE, dagster_home

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

STEP = timedelta(hours=12)
STEPS_A_DAY = 2
HISTORY_DAYS = 90
REQUESTS_PER_SECOND = 2_000.0
"""The sandbox has no rate limit of its own unless asked for one."""
TAKEN_UP = """
SELECT count(*) FILTER (WHERE case_id IS NULL), count(*) FILTER (WHERE case_id IS NOT NULL AND is_recovered)
FROM fct_failed_payments
"""
"""How many failed payments never got a case, and how many of those with one were recovered."""
CODE_LOCATION = {".dagster/repository": "__repository__@tinko_pipelines"}
"""Ties runs started here to the code location of the UI."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo came to; `double_charges` is counted from the sandbox's own book."""

    summary: dict[str, Any]
    attempts: int
    messages: int
    never_taken_up: int
    recovered_taken_up: int
    oldest_days: int
    double_charges: int
    report_path: Path
    until: datetime
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The object printed by `--json`."""
        named = (
            "failed_count",
            "recovered_count",
            "recovery_rate_count",
            "by_currency",
            "by_category",
            "by_reason",
        )
        return {
            **{name: self.summary[name] for name in named},
            "attempts": self.attempts,
            "messages": self.messages,
            "never_taken_up_count": self.never_taken_up,
            "double_charges": self.double_charges,
            "report_path": str(self.report_path),
            "until": self.until.isoformat(),
            "seconds": round(self.seconds, 1),
        }


class Launcher:
    """Starts the project's jobs as Dagster runs inside this process, recorded in Dagster's own storage."""

    def __init__(
        self, definitions: Definitions, instance: DagsterInstance, now: Callable[[], datetime]
    ) -> None:
        self._definitions, self._instance, self._now = definitions, instance, now

    def run(self, job: str, tags: dict[str, str] | None = None) -> None:
        """Run a job to its end; what failed is raised as the domain's own error where there is one."""
        found = self._definitions.resolve_job_def(job)
        result = found.execute_in_process(
            instance=self._instance,
            tags={**CODE_LOCATION, "tinko/sandbox_time": f"{self._now():%Y-%m-%d %H:%M}", **(tags or {})},
            raise_on_error=False,
        )
        if not result.success:
            raise StoreError(
                f"the run {result.run_id} of {job} failed; `tinko ui` shows why: {_cause(result)}"
            )

    def run_days(self, job: str, since: datetime, until: datetime) -> None:
        """Run a partitioned job once over all days from `since` to `until`."""
        first, last = (f"{moment:%Y-%m-%d}" for moment in (since, until))
        self.run(
            job, {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        )


def run_demo(settings: Settings, *, charges: int, days: int, seed: int, console: Console) -> DemoResult:
    """Live `days` days of recovery and report on them; in a used state folder it goes on where it stopped."""
    began = time.monotonic()
    _refuse_other_keys(settings)
    with _progress(console) as progress:
        sandbox = SandboxProcess(settings.sandbox_dir, seed=seed, charges=charges, history_days=HISTORY_DAYS)
        with _step(progress, "The sandbox lives its history"):
            base = sandbox.start()
        try:
            with _pointed_at(base, settings):
                result = _live(load_settings(), SandboxClient(base), days, progress, began)
        finally:
            sandbox.stop()
    return result


def _live(
    settings: Settings, client: SandboxClient, days: int, progress: Progress, began: float
) -> DemoResult:
    from dagster import DagsterInstance

    home = dagster_home(settings)
    app = App(settings)
    now = client.now()
    with _step(progress, "Dagster loads the project"):
        _quiet()
        from tinko_pipelines.definitions import build_definitions

        definitions = build_definitions(settings)
    with DagsterInstance.from_config(str(home), QUIET_FILE) as instance:
        launcher = Launcher(definitions, instance, client.now)
        if not settings.sandbox_note.exists():
            with _step(progress, "Train the text model"):
                launcher.run("retrain_job")
            with _step(progress, f"Ingest {HISTORY_DAYS} days of history"):
                launcher.run_days("ingest_job", now - timedelta(days=HISTORY_DAYS), now)
        _recover(app, client, launcher, now + timedelta(days=days), progress)
        with _step(progress, "Build the marts, publish snapshot and report"):
            launcher.run("report_job")
    summary = app.summary()
    never, won = app.query(TAKEN_UP, 1).rows[0]
    return DemoResult(
        summary=summary,
        attempts=int(summary["attempts"]),
        messages=int(summary["messages"]),
        never_taken_up=int(never),
        recovered_taken_up=int(won),
        oldest_days=settings.enrol_max_age_days,
        double_charges=int(client.book()["double_charges"]),
        report_path=settings.report_path,
        until=client.now(),
        seconds=time.monotonic() - began,
    )


def _recover(
    app: App, client: SandboxClient, launcher: Launcher, until: datetime, progress: Progress
) -> None:
    """Half a day at a time: do what is due, as the sensors would; look at Stripe and plan once a day."""
    now = client.now()
    steps = max(0, round((until - now) / STEP))
    task = progress.add_task("Recover: retry and mail as things fall due", total=steps + 1)
    for step in range(steps + 1):
        if step:
            now = client.advance_to(min(until, now + STEP))
        if step % STEPS_A_DAY == 0:
            launcher.run("recovery_job")
        due = app.due()
        if due.retries or due.janitor or due.inbox:
            launcher.run("retry_job")
        if due.messages:
            launcher.run("email_job")
        _note_moment(app.settings, now)
        progress.update(task, advance=1, description=f"Recover: {now:%d %B %Y}")
    launcher.run("recovery_job")


def _note_moment(settings: Settings, now: datetime) -> None:
    """Remember where the sandbox's clock stands, for commands that run without it."""
    partial = settings.sandbox_note.with_suffix(".partial")
    partial.write_text(json.dumps({"now": now.isoformat()}))
    partial.replace(settings.sandbox_note)


def _refuse_other_keys(settings: Settings) -> None:
    if settings.stripe_secret_key is not None:
        raise TinkoError("the demo uses its own sandbox and no key: unset STRIPE_SECRET_KEY for it")
    ledger, note = settings.state / "ledger.db", settings.sandbox_note
    if ledger.exists() and not note.exists() and not settings.sandbox_dir.exists():
        raise TinkoError(
            f"{settings.state} holds a ledger that is not the demo's: set TINKO_STATE to another folder"
        )


@contextmanager
def _pointed_at(base: str, settings: Settings) -> Iterator[None]:
    """The environment of a sandbox at `base`, for the jobs started here, and back again."""
    wanted = {
        "TINKO_STRIPE_API_BASE": base,
        "TINKO_CLOCK": "sandbox",
        "TINKO_STATE": str(settings.state),
        "TINKO_STRIPE_REQUESTS_PER_SECOND": str(REQUESTS_PER_SECOND),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<52}"),
        BarColumn(bar_width=28),
        TimeElapsedColumn(),
        console=console,
    )


@contextmanager
def _step(progress: Progress, what: str) -> Iterator[None]:
    task = progress.add_task(what, total=None)
    yield
    progress.update(task, total=1, completed=1)


def _cause(result: Any) -> str:
    """The innermost error of the first step that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            return " ".join(error.message.split())[:300]
    return "no step says why"


def _quiet() -> None:
    """Dagster tells its story in the UI; the terminal is for the person."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
