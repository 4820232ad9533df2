"""What is exported: one table or view of the snapshot with its documentation, as Arrow batches of plain types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from tinko_pipelines.errors import InputError
from tinko_pipelines.reports.friendly import SCHEMA, identifier
from tinko_pipelines.reports.query import only_a_select, sentence

if TYPE_CHECKING:
    import duckdb

BATCH_ROWS = 20_000
_PLAIN = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
          "FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIMESTAMP", "VARCHAR")  # fmt: skip
"""How types begin that every format knows; values of all others are written as text."""
_WIDE = {"HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)"}
"""Whole numbers that Arrow has no type for."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is written: its name, its SQL type in the snapshot, its documentation."""

    name: str
    kind: str
    comment: str


@dataclass(frozen=True, slots=True)
class Source:
    """A table or view. `where` is a condition on its rows, as SQL, or empty; the snapshot's connection reads nothing else."""

    schema: str
    name: str
    comment: str
    columns: tuple[Column, ...]
    where: str = ""

    def count(self, connection: duckdb.DuckDBPyConnection) -> int:
        """How many rows it has."""
        with self._explained():
            return int(self._asked(connection, "count(*)").fetchall()[0][0])

    def batches(self, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
        """Its rows, some at a time, in the order in which they lie."""
        with self._explained():
            yield from self._read(connection)

    def schema_of(self, connection: duckdb.DuckDBPyConnection) -> pa.Schema:
        """The Arrow types of its rows, with its documentation in their metadata."""
        with self._explained():
            schema = self._read(connection, "LIMIT 0").schema
        return pa.schema(
            field.with_metadata({"comment": column.comment})
            for field, column in zip(schema, self.columns, strict=True)
        )

    def _read(self, connection: duckdb.DuckDBPyConnection, last: str = "") -> pa.RecordBatchReader:
        asked = self._asked(connection, ", ".join(map(_written, self.columns)), last)
        return asked.to_arrow_reader(BATCH_ROWS)

    def _asked(
        self, connection: duckdb.DuckDBPyConnection, what: str, last: str = ""
    ) -> duckdb.DuckDBPyRelation:
        query = f"SELECT {what} FROM {self.schema}.{identifier(self.name)}"
        if self.where:
            # On lines of its own, so that a comment at its end comments nothing else out.
            query += f" WHERE (\n{self.where}\n)"
        query = f"{query} {last}"
        only_a_select(connection, query)
        return connection.sql(query)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.Error, pa.ArrowException) as error:
            raise InputError(f"{self.name} cannot be exported: {sentence(error)}") from None


def find(connection: duckdb.DuckDBPyConnection, asked: str, where: str = "") -> Source:
    """The table or view that is asked for, with or without its schema, in any case of letters; InputError lists them."""
    names = every(connection)
    wanted = asked.strip().replace('"', "").lower()
    for schema, name in names:
        if wanted in (name.lower(), f"{schema}.{name}".lower()):
            return _described(connection, schema, name, where)
    tables = ", ".join(name for schema, name in names if schema == "main")
    views = ", ".join(f'"{name}"' for schema, name in names if schema == SCHEMA)
    raise InputError(f"there is no table or view {asked!r} in the snapshot; there are {tables}; and {views}")


def every(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Schema and name of every table, then of every friendly view."""
    tables = "SELECT 'main', table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY 2"
    views = f"SELECT '{SCHEMA}', view_name FROM duckdb_views() WHERE schema_name = '{SCHEMA}' ORDER BY 2"
    return [
        (str(row[0]), str(row[1])) for sql in (tables, views) for row in connection.execute(sql).fetchall()
    ]


def _described(connection: duckdb.DuckDBPyConnection, schema: str, name: str, where: str) -> Source:
    about = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE schema_name = $1 AND table_name = $2 UNION ALL"
        " SELECT comment FROM duckdb_views() WHERE schema_name = $1 AND view_name = $2",
        [schema, name],
    ).fetchall()
    columns = connection.execute(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns()"
        " WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
        [schema, name],
    ).fetchall()
    return Source(
        schema, name, str(about[0][0] or ""), tuple(Column(*map(str, row)) for row in columns), where
    )


def _written(column: Column) -> str:
    own = identifier(column.name)
    if column.kind in _WIDE:
        return f"{own}::{_WIDE[column.kind]} AS {own}"
    plain = column.kind.startswith(_PLAIN) and not column.kind.endswith("]")
    return own if plain else f"{own}::VARCHAR AS {own}"
