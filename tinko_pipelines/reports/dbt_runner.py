"""Runs the dbt project of this installation: parse when stale, build. What the models say is in `dbt/`.

dbt runs as its own process: it keeps its DuckDB connection, its logger and its environment for the life of a
process, and the pipelines must go on afterwards. All it writes goes below `<state>/dbt`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.place import place_of
from tinko_pipelines.reports.changes import Built, built_now, lay_out, look, told_dir, why_whole
from tinko_pipelines.reports.sources import require_sources
from tinko_pipelines.settings import Settings

BUILD_SECONDS_MAX = 600
LOCK_SECONDS_MAX = 300
_PROGRAM = Path(__file__).with_name("dbt_process.py")
Done = TypeVar("Done")
_PIECES = ("dbt_project.yml", "profiles.yml", "models", "macros", "data-tests")


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One model or test of a build: dbt's id of it, dbt's word for how it went, wall seconds, and what dbt says of it."""

    unique_id: str
    status: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did: models built, data tests passed, dbt's own warnings, wall seconds, each node; whether of everything."""

    models: int
    tests: int
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    nodes: list[NodeResult] = field(default_factory=list)
    whole: bool = True


def project_dir() -> Path:
    """The dbt project: `dbt/` of the checkout, or `_dbt` in the installed package."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_dbt", package.parent / "dbt"):
        if (candidate / "dbt_project.yml").is_file():
            return candidate
    raise StoreError(f"the dbt project is missing beside {package}; install tinko-pipelines again")


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The variables dbt needs: where the sources, the warehouse and its own files are. Telemetry is off."""
    home = settings.state / "dbt"
    return {
        "TINKO_DBT_LAKE": str(place_of(settings).folder),
        "TINKO_DBT_TOLD": str(told_dir(settings)),
        "TINKO_DBT_EXPORT": str(settings.export_dir),
        "TINKO_DBT_WAREHOUSE": str(settings.warehouse_path),
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
        "DBT_PROJECT_DIR": str(project_dir()),
        "DBT_PROFILES_DIR": str(project_dir()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def ensure_manifest(settings: Settings) -> Path:
    """The project's manifest, parsed again when it is missing or the project, paths or versions changed."""
    path = _manifest_path(settings)
    if not _is_fresh(settings):
        with only_one(settings):
            if not _is_fresh(settings):
                done = _dbt(settings, ["parse"], {})
                if done.returncode:
                    raise StoreError(f"dbt cannot read its project: {_first_error(done)}")
                _keep_manifest(settings)
    return path


def build(
    settings: Settings, as_of: datetime, *, unit_tests: bool = False, whole: bool = False
) -> BuildResult:
    """What `building` comes to in the end."""
    return finished(building(settings, as_of, unit_tests=unit_tests, whole=whole))


def finished(steps: Generator[NodeResult, None, Done]) -> Done:
    """What is returned when all steps are done."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Done = end.value
            return result


def building(
    settings: Settings, as_of: datetime, *, unit_tests: bool = False, whole: bool = False
) -> Generator[NodeResult, None, BuildResult]:
    """Build every model and run its data tests, as of business time `as_of` (timezone-aware).

    Where the last build is whole and fits, only what changed since is made anew, unless `whole` asks for everything.
    Unit tests hold the logic and not the data, so they run where the logic changes: in the test suite.
    Each model and test comes as soon as dbt is done with it, also one that failed or was skipped; dbt is stopped when nobody asks on.
    Raises StoreError naming the model or test that failed; the snapshot is not touched here.
    """
    require_sources(settings)
    began = time.monotonic()
    arguments = ["build"] if unit_tests else ["build", "--exclude-resource-type", "unit_test"]
    moment = as_of.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    with only_one(settings):
        seen, fingerprint, mark = look(settings), _fingerprint(settings), built_mark(settings)
        note = mark.with_suffix(".json")
        last = Built.read(note) if mark.exists() and settings.warehouse_path.exists() else None
        if whole or why_whole(last, seen, fingerprint, as_of):
            last = None
            arguments = [*arguments, "--full-refresh"]
        # Until all is built and tested nothing may be mended: a build that dies here is followed by a whole one.
        mark.unlink(missing_ok=True)
        lay_out(settings, seen, last)
        described = _is_fresh(settings)
        if described:
            arguments = [*arguments, "--no-write-json"]
        nodes: list[NodeResult] = []
        done = yield from _running(settings, arguments, {"TINKO_DBT_AS_OF": moment}, nodes)
        broken = [one for one in nodes if one.status in ("error", "fail", "runtime error")]
        if broken or done.returncode:
            raise StoreError(_failure(broken, done))
        if not described:
            _keep_manifest(settings)
        note.write_text(built_now(as_of, fingerprint, seen, last).text())
        mark.write_text(as_of.astimezone(UTC).isoformat())
    kinds = [one.unique_id.split(".")[0] for one in nodes]
    return BuildResult(
        models=kinds.count("model"),
        tests=kinds.count("test") + kinds.count("unit_test"),
        warnings=[line["msg"] for line in _lines(done.stdout) if line["level"] == "warn"],
        seconds=round(time.monotonic() - began, 2),
        nodes=nodes,
        whole=last is None,
    )


def generate_docs(settings: Settings) -> Path:
    """Write dbt's documentation of the last build as one page; its path. Raises StoreError when nothing was built."""
    if not settings.warehouse_path.exists():
        raise StoreError(f"there is no build to document in {settings.state} yet; run `tinko report` first")
    mark = built_mark(settings)
    as_of = mark.read_text() if mark.exists() else datetime.now(UTC).isoformat()
    with only_one(settings):
        done = _dbt(settings, ["docs", "generate", "--static", "--no-compile"], {"TINKO_DBT_AS_OF": as_of})
        if done.returncode:
            raise StoreError(f"dbt cannot write its documentation: {_first_error(done)}")
    return settings.state / "dbt" / "target" / "static_index.html"


def built_mark(settings: Settings) -> Path:
    """A file that is there only while the warehouse holds a whole, tested build."""
    return settings.state / "dbt" / "built"


def _dbt(settings: Settings, arguments: list[str], extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return finished(_running(settings, arguments, extra, []))


def _running(
    settings: Settings, arguments: list[str], extra: dict[str, str], nodes: list[NodeResult]
) -> Generator[NodeResult, None, subprocess.CompletedProcess[str]]:
    """Run dbt; each model and test as it is done, noted in `nodes`. It does not outlive whoever listens."""
    if find_spec("dbt") is None:
        raise StoreError(f"dbt is not installed for {sys.executable}; run `make setup`")
    settings.state.mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "TINKO_DBT_"))
    }
    late = threading.Event()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603 - our own program, no shell, arguments are constants
            [sys.executable, "-P", str(_PROGRAM), *arguments],
            env={**inherited, **dbt_environment(settings), **extra},
            cwd=settings.state,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(BUILD_SECONDS_MAX, stop)
        timer.start()
        said = []
        try:
            for line in process.stdout or ():
                node = _node(line)
                if node is None:
                    said.append(line)
                else:
                    nodes.append(node)
                    yield node
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        returncode = process.wait()
        errors.seek(0)
        if late.is_set():
            raise StoreError(f"dbt did not finish within {BUILD_SECONDS_MAX} s; look at {settings.state}/dbt")
        return subprocess.CompletedProcess(arguments, returncode, "".join(said), errors.read())


def _node(line: str) -> NodeResult | None:
    told = _parsed(line)
    if "node" not in told:
        return None
    return NodeResult(told["node"], told["status"], round(float(told["seconds"]), 3), told["message"] or "")


def _parsed(line: str) -> dict[str, Any]:
    """A line that dbt's process told of; empty for anything else, such as the half of one that was killed."""
    try:
        told = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _lines(text: str) -> Iterator[dict[str, Any]]:
    return (told for told in map(_parsed, text.splitlines()) if "level" in told)


def _failure(broken: list[NodeResult], done: subprocess.CompletedProcess[str]) -> str:
    if not broken:
        return f"dbt cannot build: {_first_error(done)}"
    first = broken[0]
    kind, _, *names = first.unique_id.split(".")
    name = names[-1] if kind == "unit_test" else names[0]
    why = " ".join((first.message or "no reason given").split())[:400]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    return f"the {kind.replace('_', ' ')} {name} failed{more}: {why}; the published snapshot is unchanged"


def _first_error(done: subprocess.CompletedProcess[str]) -> str:
    told = [line["msg"] for line in _lines(done.stdout) if line["level"] == "error"]
    text = told[0] if told else done.stderr.strip() or f"it ended with {done.returncode} and gave no reason"
    return " ".join(text.split())[:400]


def _manifest_path(settings: Settings) -> Path:
    return settings.state / "dbt" / "manifest.json"


def _fingerprint(settings: Settings) -> str:
    digest = hashlib.sha256(json.dumps(dbt_environment(settings), sort_keys=True).encode())
    for name in ("dbt-core", "dbt-duckdb", "duckdb"):
        digest.update(f"{name}={version(name)}".encode())
    root = project_dir()
    for piece in _PIECES:
        top = root / piece
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _is_fresh(settings: Settings) -> bool:
    mark = _manifest_path(settings).with_suffix(".sha256")
    if not (mark.exists() and _manifest_path(settings).exists()):
        return False
    return mark.read_text() == _fingerprint(settings)


def _keep_manifest(settings: Settings) -> None:
    """Copy what dbt just wrote to where readers find it: whole, and never half-written."""
    path = _manifest_path(settings)
    content = (path.parent / "target" / "manifest.json").read_bytes()
    for target, data in ((path, content), (path.with_suffix(".sha256"), _fingerprint(settings).encode())):
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(target)


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the one place at the warehouse, waiting for another process at most `LOCK_SECONDS_MAX`."""
    import fcntl

    home = settings.state / "dbt"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as handle:
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError(f"another build has held {home}/lock for {LOCK_SECONDS_MAX} s") from None
                time.sleep(0.1)
        yield
