"""dbt's process as the pipelines start it, which besides adds up the CPU that DuckDB takes: opening the warehouse, statements, their results, closing it.

The sum of CPU-seconds goes into the file that `TIMED_DBT` names. It is that of the whole process meanwhile, DuckDB's own threads
among it; so dbt has to run one model at a time.
"""

import os
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

from tinko_pipelines.reports import dbt_process

taken: list[float] = []


def timed(does: Callable[..., Any]) -> Callable[..., Any]:
    """The same, noting what it takes."""

    def does_timed(*args: Any, **more: Any) -> Any:
        before = time.process_time()
        try:
            return does(*args, **more)
        finally:
            taken.append(time.process_time() - before)

    return does_timed


def fetching(name: str) -> Callable[..., Any]:
    """The cursor's own way of fetching, which the wrapper hands on."""
    return timed(lambda self, *args: getattr(self._cursor, name)(*args))


def close_and_tell() -> None:
    """Close the warehouse, and tell what all of it took."""
    closes()
    Path(os.environ["TIMED_DBT"]).write_text(str(sum(taken)))


duckdb.connect = timed(duckdb.connect)
DuckDBCursorWrapper.execute = timed(DuckDBCursorWrapper.execute)  # type: ignore[method-assign]
for name in ("fetchall", "fetchmany", "fetchone"):
    setattr(DuckDBCursorWrapper, name, fetching(name))
closes = timed(DuckDBConnectionManager.close_all_connections)
DuckDBConnectionManager.close_all_connections = close_and_tell  # type: ignore[method-assign]

if __name__ == "__main__":
    runpy.run_path(dbt_process.__file__, run_name="__main__")
