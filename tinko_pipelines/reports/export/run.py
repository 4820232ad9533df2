"""From the published snapshot to files: which, where, and each written aside and put in place as a whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinko_pipelines.errors import InputError
from tinko_pipelines.lake.files import sync, unwritable
from tinko_pipelines.reports.export import csv, parquet, xlsx
from tinko_pipelines.reports.export.source import Source, every, find
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    import duckdb

FORMATS = ("csv", "parquet", "xlsx")


@dataclass(frozen=True, slots=True)
class Exported:
    """One file: of which table or view, how many rows, and its size in bytes."""

    name: str
    path: Path
    format: str
    rows: int
    size_bytes: int


def export_one(
    settings: Settings, name: str, format: str | None = None, out: Path | None = None, where: str = ""
) -> Exported:
    """Write a table or view of the snapshot, its rows that meet the condition `where` (SQL) or all.

    The format is that of the ending of `out` where none is given, else CSV; the file lies in the present folder
    where no `out` is given. Raises InputError for what cannot be asked for, StoreError for what cannot be written.
    """
    chosen = _format(format, out)
    with opened(settings) as connection:
        source = find(connection, name, where)
        return _written(connection, source, chosen, out or Path(f"{source.name}.{chosen}"))


def export_all(settings: Settings, folder: Path, format: str | None = None) -> list[Exported]:
    """Write every table of the snapshot, all of the same version, each to a file of its name in `folder`."""
    chosen = _format(format, None)
    with opened(settings) as connection:
        return [
            _written(connection, find(connection, f"{schema}.{name}"), chosen, folder / f"{name}.{chosen}")
            for schema, name in every(connection)
            if schema == "main"
        ]


def _format(given: str | None, out: Path | None) -> str:
    ending = out.suffix.lstrip(".").lower() if out else ""
    chosen = (given or (ending if ending in FORMATS else "csv")).lower()
    if chosen not in FORMATS:
        raise InputError(f"there is no format {given!r}; choose from {', '.join(FORMATS)}")
    return chosen


def _written(connection: duckdb.DuckDBPyConnection, source: Source, format: str, out: Path) -> Exported:
    path = out.expanduser().absolute()
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it with --out")
    rows = source.count(connection)
    with _aside(path) as partial:
        # The schema is asked for first: a connection reads one result at a time.
        schema = source.schema_of(connection)
        batches = source.batches(connection)
        if format == "xlsx":
            xlsx.write(partial, source, rows, batches)
        elif format == "csv":
            csv.write(partial, schema, batches)
        else:
            parquet.write(partial, schema, batches, source.name, source.comment)
    return Exported(source.name, path, format, rows, path.stat().st_size)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name to write a file under that takes its place when it is whole; what a killed export left is gone first."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{path.name}.*.partial*"):
            _remove(leftover)
        try:
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
        except BaseException:
            for leftover in path.parent.glob(f"{partial.name}*"):
                _remove(leftover)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
