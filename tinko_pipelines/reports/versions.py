"""The versions of the snapshot: where they lie, which one is the newest, and which go.

A version is whole from the moment it has its name. The newest one has a second name, `recovery.duckdb`, that is moved
from one to the next in one step: whoever has opened it keeps what he opened. Callers hold the one place at the warehouse.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.lake.files import sync, unwritable
from tinko_pipelines.settings import Settings

READ_ONLY = 0o444
_NAME = re.compile(r"recovery-(\d{4}-\d\d-\d\dT\d{6}Z)\.duckdb")
_MOMENT = "%Y-%m-%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Version:
    """One published snapshot; `name` is its moment, by which it is asked for. The size is in bytes."""

    name: str
    path: Path
    as_of: datetime
    size_bytes: int
    is_newest: bool


def name_of(as_of: datetime) -> str:
    """How a version as of that moment is called."""
    return as_of.astimezone(UTC).strftime(_MOMENT)


def kept(settings: Settings) -> list[Version]:
    """Every version there is, the newest first."""
    found = []
    for path in settings.snapshots_dir.glob("recovery-*.duckdb"):
        told = _NAME.fullmatch(path.name)
        if told:
            as_of = datetime.strptime(told[1], _MOMENT).replace(tzinfo=UTC)
            found.append(
                Version(told[1], path, as_of, path.stat().st_size, _is_same(path, settings.snapshot_path))
            )
    return sorted(found, key=lambda version: version.name, reverse=True)


def named(settings: Settings, name: str) -> Version:
    """The version of that name; raises InputError naming those there are."""
    versions = kept(settings)
    for version in versions:
        if version.name == name:
            return version
    there = ", ".join(version.name for version in versions[:10]) or "none; `tinko report` makes one"
    raise InputError(f"there is no snapshot {name!r}; there are {there}")


def begin(settings: Settings) -> Path:
    """A new name for a file that is to become a version; what a killed process has left behind is gone."""
    folder = settings.snapshots_dir
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in (*folder.glob(".*"), *settings.state.glob(f".{settings.snapshot_path.name}.*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
    return folder / f".building-{os.getpid()}.duckdb"


def take(settings: Settings, partial: Path, as_of: datetime) -> Path:
    """Make a finished file a version, and the newest one; then let the oldest go. The path of the newest."""
    partial.chmod(READ_ONLY)
    sync(partial)
    path = settings.snapshots_dir / f"recovery-{name_of(as_of)}.duckdb"
    partial.replace(path)
    sync(path.parent)
    point_at(settings, path)
    for old in beyond(settings):
        old.unlink(missing_ok=True)
    return settings.snapshot_path


def beyond(settings: Settings) -> list[Path]:
    """The versions above the number that is kept, never the newest."""
    return [version.path for version in kept(settings)[settings.snapshots_kept :] if not version.is_newest]


def point_at(settings: Settings, path: Path) -> None:
    """Make that version the newest one, in one step."""
    newest = settings.snapshot_path
    beside = newest.with_name(f".{newest.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        try:
            beside.hardlink_to(path)
        except OSError:
            # Some file systems know no second name of a file.
            shutil.copyfile(path, beside)
            beside.chmod(READ_ONLY)
            sync(beside)
        beside.replace(newest)
        # To move one name of a file over another name of it does nothing.
        beside.unlink(missing_ok=True)
        sync(newest.parent)
    except OSError as error:
        raise unwritable(newest, error) from error


def drop_older(settings: Settings) -> int:
    """Remove every version but the newest, for good; how many there were."""
    older = [version.path for version in kept(settings) if not version.is_newest]
    try:
        for path in (*older, *settings.snapshots_dir.glob(".building-*")):
            path.unlink(missing_ok=True)
        if settings.snapshots_dir.exists():
            sync(settings.snapshots_dir)
    except OSError as error:
        raise StoreError(
            f"older snapshots cannot be removed: {error}; check the rights of {settings.snapshots_dir}"
        ) from error
    return len(older)


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)
