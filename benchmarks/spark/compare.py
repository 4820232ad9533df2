"""Every mart of DuckDB against the one that Spark built: the same rows, each as often, in both directions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DIGITS = 9
"""Doubles are compared to so many decimal places: engines add them up in another order."""
NEEDED = (
    "fct_failed_payments", "fct_attempts", "fct_messages", "dim_customers", "recovery_daily", "recovery_cohorts",
    "recovery_by_decline_code",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compared:
    """A mart: its rows on DuckDB, how many of them Spark lacks and how many it has besides, and the first of those."""

    name: str
    rows: int
    lacking: int
    besides: int
    example: str = ""

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return not (self.lacking or self.besides)

    def told(self) -> str:
        """In a line."""
        if self.same:
            return f"  same      {self.name}: {self.rows:,} rows"
        return f"  DIFFERENT {self.name}: {self.rows:,} rows, {self.lacking} lacking, {self.besides} besides; {self.example}"


def compare(warehouse: Path, marts: Path) -> list[Compared]:
    """Every table of DuckDB's `main` against the Parquet files in the folder of the same name."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{warehouse}' AS w (READ_ONLY)")
        asked = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'w' AND schema_name = 'main' ORDER BY ALL"
        names = [name for (name,) in connection.execute(asked).fetchall()]
        missing = sorted(set(NEEDED) - set(names))
        if missing:
            raise SystemExit(f"DuckDB built no {', '.join(missing)}")
        return [_compared(connection, name, marts / name) for name in names]


def _compared(connection: duckdb.DuckDBPyConnection, name: str, folder: Path) -> Compared:
    rows = connection.sql(f"SELECT count(*) FROM w.main.{name}").fetchall()[0][0]
    if not any(folder.glob("*.parquet")):
        return Compared(name, rows, rows, 0, "Spark wrote no such table")
    asked = (
        "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'w' AND schema_name = 'main'"
        " AND table_name = ? ORDER BY column_index"
    )
    columns = connection.execute(asked, [name]).fetchall()
    files = f"read_parquet('{folder}/*.parquet')"
    here, there = (column for column, _ in columns), connection.sql(f"SELECT * FROM {files}").columns
    if odd := sorted(set(here) ^ set(there)):
        return Compared(name, rows, rows, 0, f"columns {', '.join(odd)} are only on one side")
    told = ", ".join(_as_told(*column) for column in columns)
    ours, theirs = f"SELECT {told} FROM w.main.{name}", f"SELECT {told} FROM {files}"
    lacking = connection.sql(f"({ours}) EXCEPT ALL ({theirs})").fetchall()
    besides = connection.sql(f"({theirs}) EXCEPT ALL ({ours})").fetchall()
    return Compared(name, rows, len(lacking), len(besides), str((lacking + besides)[:1])[:600])


def _as_told(name: str, kind: str) -> str:
    """A column in DuckDB's type; Spark keeps no zone with a moment, and every moment here is UTC."""
    if kind in ("DOUBLE", "FLOAT"):
        return f'round("{name}"::DOUBLE, {DIGITS}) AS "{name}"'
    return f'"{name}"::{"TIMESTAMP" if kind.startswith("TIMESTAMP") else kind} AS "{name}"'


def spoil(marts: Path, name: str) -> None:
    """Alter one row of what Spark built: add one to the first whole number. For proving that a difference is seen."""
    for file in _filled(marts / name):
        table = pq.read_table(file)
        for at, column in enumerate(table.schema):
            if pa.types.is_integer(column.type):
                first = pa.array([True] + [False] * (table.num_rows - 1))
                values = table.column(at).combine_chunks()
                changed = pc.if_else(
                    first, pc.add(pc.fill_null(values, 0), pa.scalar(1, column.type)), values
                )
                pq.write_table(table.set_column(at, column, pa.chunked_array([changed])), file)
                file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
                return
    raise SystemExit(f"there is no row of {name} with a whole number to alter")


def _filled(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("*.parquet")) if pq.read_metadata(file).num_rows)
