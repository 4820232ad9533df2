"""The lake's files as views of DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.place import Place
from tinko_pipelines.lake.reader import session

if TYPE_CHECKING:
    import duckdb


@contextmanager
def opened(place: Place, names: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session with a view of each named table; raises StoreError where one cannot be read."""
    import duckdb

    try:
        with session() as connection:
            for name in names:
                pattern = str(place.folder / f"tables/{name}" / "**" / "*.parquet").replace("'", "''")
                connection.execute(
                    f"CREATE TEMP VIEW {name} AS SELECT * FROM read_parquet('{pattern}',"
                    " union_by_name = true, hive_partitioning = false)"
                )
            yield connection
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"the lake at {place.where} cannot be read: {first}; ingest again") from error
