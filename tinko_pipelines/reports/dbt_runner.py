"""Runs the dbt project of this installation: parse when stale, build. What the models say is in `dbt/`.

dbt runs as its own process (`dbt_child.py`). All it writes goes below `<state>/dbt`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.place import place_of
from tinko_pipelines.reports.changes import Built, built_now, lay_out, look, told_dir, why_whole
from tinko_pipelines.reports.dbt_child import Child, Ended, NodeResult, dbt_started
from tinko_pipelines.reports.sources import require_sources
from tinko_pipelines.settings import Settings

BUILD_SECONDS_MAX = 600
LOCK_SECONDS_MAX = 300
Done = TypeVar("Done")
_PIECES = ("dbt_project.yml", "profiles.yml", "models", "macros", "data-tests")


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
    """The variables dbt needs: where the sources, the warehouse and its own files are. Telemetry is off.

    What it reads is named from the state folder on, in which it runs: it has to parse its project again where a name differs.
    """
    home = settings.state / "dbt"
    read = {
        "TINKO_DBT_LAKE": place_of(settings).folder,
        "TINKO_DBT_TOLD": told_dir(settings),
        "TINKO_DBT_EXPORT": settings.export_dir,
        "TINKO_DBT_WAREHOUSE": settings.warehouse_path,
    }
    return {
        **{name: str(path.relative_to(settings.state)) for name, path in read.items()},
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
        "DBT_PROJECT_DIR": str(project_dir()),
        "DBT_PROFILES_DIR": str(project_dir()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def ensure_manifest(settings: Settings) -> Path:
    """The project's manifest, parsed again when it is missing or the project, paths or versions changed."""
    path, fingerprint = _manifest_path(settings), _fingerprint(settings)
    if not _is_fresh(settings, fingerprint):
        with only_one(settings):
            if not _is_fresh(settings, fingerprint):
                with _started(settings) as dbt:
                    done = finished(dbt.run(["parse"]))
                if done.code:
                    raise StoreError(f"dbt cannot read its project: {done.why}")
                _keep_manifest(settings, fingerprint)
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
    # dbt takes a second to load, in which the sources are looked at.
    with only_one(settings), _started(settings, TINKO_DBT_AS_OF=moment) as dbt:
        seen, fingerprint, mark = look(settings), _fingerprint(settings), built_mark(settings)
        note = mark.with_suffix(".json")
        last = Built.read(note) if mark.exists() and settings.warehouse_path.exists() else None
        if whole or why_whole(last, seen, fingerprint, as_of):
            last = None
            arguments = [*arguments, "--full-refresh"]
        # Until all is built and tested nothing may be mended: a build that dies here is followed by a whole one.
        mark.unlink(missing_ok=True)
        lay_out(settings, seen, last)
        described = _is_fresh(settings, fingerprint)
        if described:
            arguments = [*arguments, "--no-write-json"]
        done = yield from dbt.run(arguments)
        if done.code or done.broken():
            raise StoreError(_failure(done))
        if not described:
            _keep_manifest(settings, fingerprint)
        note.write_text(built_now(as_of, fingerprint, seen, last).text())
        mark.write_text(as_of.astimezone(UTC).isoformat())
    kinds = [one.unique_id.split(".")[0] for one in done.nodes]
    return BuildResult(
        models=kinds.count("model"),
        tests=kinds.count("test") + kinds.count("unit_test"),
        warnings=done.warnings,
        seconds=round(time.monotonic() - began, 2),
        nodes=done.nodes,
        whole=last is None,
    )


def generate_docs(settings: Settings) -> Path:
    """Write dbt's documentation of the last build as one page; its path. Raises StoreError when nothing was built."""
    if not settings.warehouse_path.exists():
        raise StoreError(f"there is no build to document in {settings.state} yet; run `tinko report` first")
    mark = built_mark(settings)
    as_of = mark.read_text() if mark.exists() else datetime.now(UTC).isoformat()
    with only_one(settings), _started(settings, TINKO_DBT_AS_OF=as_of) as dbt:
        done = finished(dbt.run(["docs", "generate", "--static", "--no-compile"]))
        if done.code:
            raise StoreError(f"dbt cannot write its documentation: {done.why}")
    return settings.state / "dbt" / "target" / "static_index.html"


def built_mark(settings: Settings) -> Path:
    """A file that is there only while the warehouse holds a whole, tested build."""
    return settings.state / "dbt" / "built"


def _started(settings: Settings, **variables: str) -> AbstractContextManager[Child]:
    return dbt_started(settings.state, {**dbt_environment(settings), **variables}, BUILD_SECONDS_MAX)


def _failure(done: Ended) -> str:
    broken = done.broken()
    if not broken:
        return f"dbt cannot build: {done.why}"
    first = broken[0]
    kind, _, *names = first.unique_id.split(".")
    name = names[-1] if kind == "unit_test" else names[0]
    why = " ".join((first.message or "no reason given").split())[:400]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    return f"the {kind.replace('_', ' ')} {name} failed{more}: {why}; the published snapshot is unchanged"


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


def _is_fresh(settings: Settings, fingerprint: str) -> bool:
    mark = _manifest_path(settings).with_suffix(".sha256")
    return mark.exists() and _manifest_path(settings).exists() and mark.read_text() == fingerprint


def _keep_manifest(settings: Settings, fingerprint: str) -> None:
    """Copy what dbt just wrote to where readers find it: whole, and never half-written."""
    path = _manifest_path(settings)
    content = (path.parent / "target" / "manifest.json").read_bytes()
    for target, data in ((path, content), (path.with_suffix(".sha256"), fingerprint.encode())):
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
