"""Starting the Dagster UI on loopback, with Dagster's home prepared in the state folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import Settings

DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 120
  max_runtime_seconds: 3600
  max_resume_run_attempts: 0
  free_slots_after_run_end_seconds: 60
run_retries:
  enabled: true
  max_retries: 0
retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days:
      skipped: 3
      success: 30
      failure: 30
      started: 30
concurrency:
  runs:
    max_concurrent_runs: 5
  pools:
    default_limit: 1
"""

POSTGRES_YAML = """\
storage:
  postgres:
    postgres_url:
      env: TINKO_DAGSTER_URL
"""


STOP_SECONDS_MAX = 30
QUIET_YAML = """\
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
QUIET_FILE = "without_output.yaml"
"""The same home for runs inside a process of ours, whose output need not be captured by two processes a step."""


def dagster_home(settings: Settings, *, postgres: bool = False) -> Path:
    """Dagster's home below the state folder, with its configuration; run storage on PostgreSQL if asked."""
    home = settings.state / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    text = DAGSTER_YAML + (POSTGRES_YAML if postgres else "")
    for name, wanted in (("dagster.yaml", text), (QUIET_FILE, text + QUIET_YAML)):
        target = home / name
        if not target.exists() or target.read_text() != wanted:
            target.write_text(wanted)
    return home


def serve(settings: Settings, port: int, *, root: Path, say: Callable[[str], None]) -> int:
    """Run `dagster dev` until interrupted, beside the sandbox this state folder came from; its exit code."""
    home = dagster_home(settings, postgres=bool(os.environ.get("TINKO_DAGSTER_URL")))
    environment = {**os.environ, "DAGSTER_HOME": str(home), "TINKO_STATE": str(settings.state)}
    workspace = root / "workspace.yaml"
    where = ["-w", str(workspace)] if workspace.exists() else ["-m", "tinko_pipelines.definitions"]
    command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), *where]
    with ExitStack() as stack:
        if settings.rests_on_sandbox:
            sandbox = stack.enter_context(SandboxProcess(settings.sandbox_dir))
            environment |= {"TINKO_STRIPE_API_BASE": sandbox.base, "TINKO_CLOCK": "sandbox"}
            say(f"Sandbox: {sandbox.base} (its clock stands still until somebody moves it)")
        say(f"Dagster UI: http://127.0.0.1:{port} (stop with Ctrl-C)")
        with subprocess.Popen(command, cwd=root, env=environment) as process:  # noqa: S603
            try:
                return process.wait()
            except KeyboardInterrupt:
                return _let_end(process)


def _let_end(process: subprocess.Popen[bytes]) -> int:
    """Pass an interrupt on and wait for Dagster to stop its own children; it is killed when it takes too long."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
    return 0
