"""What is made of lake and ledger, searched for one person: derived tables, the ledger's export, the published snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.erased import Erased
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.reports.versions import kept
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    import duckdb

NAMES_HIM = "customer_id"


def made_of_him(settings: Settings, lake: Lake, erased: Erased) -> dict[str, int]:
    """Rows by file or table that still name him as their customer."""
    import duckdb

    lake.place.refresh("derived")
    files = [*(lake.place.folder / "derived").glob("*.parquet"), *settings.export_dir.glob("*.parquet")]
    found: dict[str, int] = {}
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TEMP TABLE known AS SELECT unnest(?::VARCHAR[]) AS hash", [[*erased.known]]
        )
        try:
            for path in sorted(files):
                source = "read_parquet('" + str(path).replace("'", "''") + "')"
                found[f"{path.parent.name}/{path.name}"] = _rows(connection, source)
            older = {f"snapshots/{one.name}": one.path for one in kept(settings) if not one.is_newest}
            for place, path in {"snapshot": settings.snapshot_path, **older}.items():
                for table in _published(connection, path):
                    found[f"{place}/{table}"] = _rows(connection, f'snapshot."{table}"')
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise StoreError(
                f"what is made of the lake cannot be searched: {first}; run `tinko report`"
            ) from error
    return {name: count for name, count in found.items() if count}


def _rows(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    if NAMES_HIM not in columns:
        return 0
    his = f"SELECT count(*) FROM {source} WHERE sha256({NAMES_HIM}) IN (SELECT hash FROM known)"
    return int(connection.execute(his).fetchall()[0][0])


def _published(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[str]:
    if not path.exists():
        return
    connection.execute("ATTACH '" + str(path).replace("'", "''") + "' AS snapshot (READ_ONLY)")
    tables = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'snapshot' ORDER BY 1"
    yield from (str(row[0]) for row in connection.execute(tables).fetchall())
    connection.execute("DETACH snapshot")
