"""The published snapshot: the marts alone in a DuckDB file that is swapped in whole, and how it is opened.

A reader keeps the file it has opened; whoever opens later gets the new one. Nothing is computed here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import sync
from tinko_pipelines.reports.dbt_runner import built_mark, ensure_manifest, only_one
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    import duckdb


def publish(settings: Settings) -> Path:
    """Copy the marts of the last whole build, with their documentation, and swap them in; the snapshot's path.

    Raises StoreError, with the old snapshot left as it was, when there is no whole build or no room.
    """
    import duckdb

    manifest = json.loads(ensure_manifest(settings).read_text())
    marts = [node for node in manifest["nodes"].values() if _is_mart(node)]
    final = settings.snapshot_path
    with only_one(settings):
        if not (built_mark(settings).exists() and settings.warehouse_path.exists()):
            raise StoreError("there is no finished build to publish; run `tinko report`, which builds first")
        for leftover in final.parent.glob(f".{final.name}.*"):
            leftover.unlink()
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            _copy(settings.warehouse_path, partial, marts)
            sync(partial)
            partial.replace(final)
            sync(final.parent)
        except (duckdb.Error, OSError) as error:
            with suppress(OSError):
                partial.unlink()
            why = str(error).splitlines()[0]
            raise StoreError(
                f"the snapshot cannot be published: {why}; make room at {final.parent}, close programs that hold"
                " the warehouse, and run `tinko report` again"
            ) from error
    return final


@contextmanager
def opened(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can read the present snapshot and nothing else: no writes, no files, no network.

    The file is attached to a database in memory, since DuckDB hands out the old file again when a process
    opens the same path while an older connection lives.
    """
    import duckdb

    path = settings.snapshot_path
    if not path.exists():
        raise StoreError(f"there is no snapshot at {path} yet; run `tinko report` first")
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"ATTACH {_quoted(str(path))} AS recovery (READ_ONLY)")
        except duckdb.Error as error:
            why = str(error).splitlines()[0]
            raise StoreError(
                f"the snapshot {path} cannot be opened: {why}; run `tinko report` again"
            ) from error
        connection.execute("USE recovery")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _is_mart(node: dict[str, Any]) -> bool:
    return bool(node["resource_type"] == "model" and "marts" in node["fqn"])


def _copy(warehouse: Path, target: Path, marts: list[dict[str, Any]]) -> None:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {_quoted(str(warehouse))} AS warehouse (READ_ONLY)")
        connection.execute(f"ATTACH {_quoted(str(target))} AS snapshot")
        for node in sorted(marts, key=lambda one: str(one["name"])):
            name = node["name"]
            connection.execute(f"CREATE TABLE snapshot.{name} AS FROM warehouse.main.{name} ORDER BY ALL")
            connection.execute(f"COMMENT ON TABLE snapshot.{name} IS {_quoted(node['description'])}")
            for column, about in node["columns"].items():
                text = _quoted(about["description"])
                connection.execute(f"COMMENT ON COLUMN snapshot.{name}.{column} IS {text}")
        connection.execute("DETACH snapshot")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
