"""The published snapshot: the marts alone in a DuckDB file that is swapped in whole, and how it is opened.

A reader keeps the file it has opened; whoever opens later gets the new one. Nothing is computed here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.place import place_of
from tinko_pipelines.reports import versions
from tinko_pipelines.reports.dbt_runner import built_mark, ensure_manifest, only_one
from tinko_pipelines.reports.friendly import SCHEMA, identifier, literal, views
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    import duckdb

_OWN_SCHEMAS = frozenset({"main", "information_schema", "pg_catalog"})
_FACTS = ("fct_failed_payments", "fct_attempts", "fct_messages")
"""What is asked for one debt, among millions of rows of others."""


def publish(settings: Settings) -> Path:
    """Publish the marts of the last whole build, with their documentation, as the newest snapshot; its path.

    Raises StoreError, with the old snapshot left as it was, when there is no whole build or no room.
    """
    import duckdb

    manifest = json.loads(ensure_manifest(settings).read_text())
    marts = sorted(
        (node for node in manifest["nodes"].values() if _is_mart(node)), key=lambda one: str(one["name"])
    )
    with only_one(settings):
        mark = built_mark(settings)
        if not (mark.exists() and settings.warehouse_path.exists()):
            raise StoreError("there is no finished build to publish; run `tinko report`, which builds first")
        partial: Path | None = None
        try:
            partial = versions.begin(settings)
            _copy(settings.warehouse_path, partial, marts)
            versions.take(settings, partial, datetime.fromisoformat(mark.read_text().strip()))
        except (duckdb.Error, OSError) as error:
            for leftover in (partial, partial and _journal(partial)):
                if leftover is not None:
                    with suppress(OSError):
                        leftover.unlink()
            why = str(error).splitlines()[0]
            raise StoreError(
                f"the snapshot cannot be published: {why}; make room at {settings.snapshots_dir}, close programs that"
                " hold the warehouse, and run `tinko report` again"
            ) from error
        _send(settings)
    return settings.snapshot_path


def restore(settings: Settings, name: str) -> Path:
    """Make an older version the newest again, until the next one is published; the path it is read at."""
    with only_one(settings):
        versions.point_at(settings, versions.named(settings, name).path)
        _send(settings)
    return settings.snapshot_path


def drop_older(settings: Settings) -> int:
    """Remove every version but the newest, for good; how many there were."""
    with only_one(settings):
        return versions.drop_older(settings)


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
            connection.execute(f"ATTACH {literal(str(path))} AS recovery (READ_ONLY)")
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


def _send(settings: Settings) -> None:
    """Put the newest snapshot beside a lake that lies on an object store, for who has not this machine's disk."""
    if settings.lake_url is not None:
        place_of(settings).copy_in(settings.snapshot_path, f"snapshot/{settings.snapshot_path.name}")


def _is_mart(node: dict[str, Any]) -> bool:
    return bool(node["resource_type"] == "model" and "marts" in node["fqn"])


def _copy(warehouse: Path, target: Path, marts: list[dict[str, Any]]) -> None:
    """The warehouse's file with all but the marts taken out: a hundredth of what it costs to write them anew."""
    import duckdb

    shutil.copyfile(warehouse, target)
    if _journal(warehouse).exists():
        shutil.copyfile(_journal(warehouse), _journal(target))
    with duckdb.connect(str(target), config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("BEGIN")
        _keep_only(connection, {str(node["name"]) for node in marts})
        types = {}
        for node in marts:
            types[node["name"]] = _document(connection, node)
        for name in _FACTS:
            connection.execute(f"CREATE INDEX {name}_of_debt ON main.{name} (debt_id)")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for view in views(marts, types):
            for statement in view.statements():
                connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")


def _keep_only(connection: duckdb.DuckDBPyConnection, names: set[str]) -> None:
    there = connection.execute(
        "SELECT table_name, 'TABLE' FROM duckdb_tables() WHERE schema_name = 'main'"
        " UNION ALL SELECT view_name, 'VIEW' FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
    ).fetchall()
    # What a model only shows must be held before that is gone which it is made of.
    for name, kind in there:
        if kind == "VIEW" and name in names:
            own = identifier(name)
            connection.execute(
                f"CREATE TABLE main.tinko_held AS FROM main.{own}; DROP VIEW main.{own};"
                f" ALTER TABLE main.tinko_held RENAME TO {own}"
            )
    for name, kind in there:
        if name not in names:
            connection.execute(f"DROP {kind} main.{identifier(name)}")
    schemas = "SELECT DISTINCT schema_name FROM duckdb_schemas() WHERE database_name = current_database()"
    for (schema,) in connection.execute(schemas).fetchall():
        if schema not in _OWN_SCHEMAS:
            connection.execute(f"DROP SCHEMA {identifier(schema)} CASCADE")


def _document(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> dict[str, str]:
    """Write a model's documentation into its table; the type of each column, in order."""
    table = f"main.{identifier(node['name'])}"
    rows = connection.execute(f"DESCRIBE {table}").fetchall()
    connection.execute(f"COMMENT ON TABLE {table} IS {literal(node['description'])}")
    for column, about in node["columns"].items():
        text = literal(about["description"])
        connection.execute(f"COMMENT ON COLUMN {table}.{identifier(column)} IS {text}")
    return {str(row[0]): str(row[1]) for row in rows}


def _journal(path: Path) -> Path:
    """Where DuckDB keeps what is not in the file yet."""
    return path.with_name(f"{path.name}.wal")
