"""One run of dbt in a process of its own, which loads dbt while it is still looked up what will be asked of it.

dbt keeps its DuckDB connection, its logger and its environment for the life of a process, and the pipelines must go on
afterwards. What it does and says there is in `dbt_process.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from tinko_pipelines.errors import StoreError

_PROGRAM = Path(__file__).with_name("dbt_process.py")


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One model or test of a build: dbt's id of it, dbt's word for how it went, wall seconds, and what dbt says of it."""

    unique_id: str
    status: str
    seconds: float
    message: str = ""


@dataclass(slots=True)
class Ended:
    """How a run of dbt ended: its exit code, models and tests, dbt's own warnings, and in one line why it failed, as far as it said."""

    code: int = 0
    nodes: list[NodeResult] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    why: str = ""

    def broken(self) -> list[NodeResult]:
        """What failed, or could not be run."""
        return [one for one in self.nodes if one.status in ("error", "fail", "runtime error")]


@dataclass(frozen=True, slots=True)
class Child:
    """A process that loads dbt, and then does the one thing it is told."""

    process: subprocess.Popen[str]
    errors: TextIO
    timer: threading.Timer

    def run(self, arguments: list[str]) -> Generator[NodeResult, None, Ended]:
        """Run dbt once; each model and test as it is done."""
        ended, why = Ended(), []
        if self.process.stdin:
            # One that has died already says of what below.
            with suppress(BrokenPipeError), self.process.stdin as asked:
                asked.write(json.dumps(arguments) + "\n")
        for told in map(_parsed, self.process.stdout or ()):
            if "node" in told:
                seconds = round(float(told["seconds"]), 3)
                node = NodeResult(told["node"], told["status"], seconds, told["message"] or "")
                ended.nodes.append(node)
                yield node
            elif told.get("level") == "warn":
                ended.warnings.append(told["msg"])
            elif told.get("level") == "error":
                why.append(told["msg"])
        ended.code = self.process.wait()
        self.timer.cancel()
        self.errors.seek(0)
        written = self.errors.read().strip()
        first = why[0] if why else written or f"it ended with {ended.code} and gave no reason"
        ended.why = " ".join(first.split())[:400]
        return ended


@contextmanager
def dbt_started(state: Path, variables: Mapping[str, str], seconds_max: float) -> Iterator[Child]:
    """Begin dbt with `state` as its folder; at the end it is gone, also where nobody listened to all it had to say.

    Raises StoreError when dbt is missing, or not done within `seconds_max`.
    """
    if find_spec("dbt") is None:
        raise StoreError(f"dbt is not installed for {sys.executable}; run `make setup`")
    state.mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "TINKO_DBT_"))
    }
    late = threading.Event()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-P", str(_PROGRAM)],
            env={**inherited, **variables},
            cwd=state,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds_max, stop)
        timer.start()
        try:
            yield Child(process, errors, timer)
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            if late.is_set():
                raise StoreError(f"dbt did not finish within {seconds_max:g} s; look at {state}/dbt")


def _parsed(line: str) -> dict[str, Any]:
    """A line that dbt's process told of; empty for anything else, such as the half of one that was killed."""
    try:
        told = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
