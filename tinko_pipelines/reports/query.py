"""One SELECT of a person's on the published snapshot, as plain values. It can neither write nor reach files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Names of the columns, rows of JSON-friendly values, and whether more rows were there than asked for."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool = False


def query(settings: Settings, sql: str, max_rows: int = 1000) -> QueryResult:
    """The first `max_rows` rows of one SELECT on the snapshot.

    Raises InputError in one sentence for anything but a SELECT, or when DuckDB cannot understand it.
    """
    import duckdb

    if max_rows < 1:
        raise InputError(f"the number of rows must be 1 or more, not {max_rows}")
    with opened(settings) as connection:
        try:
            only_a_select(connection, sql)
            cursor = connection.execute(sql)
            columns = [str(column[0]) for column in cursor.description or []]
            found = cursor.fetchmany(max_rows + 1)
        except duckdb.Error as error:
            raise InputError(f"the query cannot be answered: {sentence(error)}") from None
    rows = [[_plain(value) for value in row] for row in found[:max_rows]]
    return QueryResult(columns, rows, truncated=len(found) > max_rows)


def only_a_select(connection: Any, sql: str) -> None:
    """Raise InputError for anything but one statement that reads."""
    import duckdb

    allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise InputError(f"one SELECT at a time, please: this is {len(statements)} statements")
    kind = statements[0].type
    if kind not in allowed:
        raise InputError(
            f"the snapshot is read-only: {kind.name} is refused, only SELECT, DESCRIBE, SHOW and EXPLAIN are answered"
        )


def sentence(error: Exception) -> str:
    """DuckDB's message without its picture of the position in the query."""
    lines = [line.strip() for line in str(error).split("\n\nLINE ")[0].splitlines()]
    return " ".join(line for line in lines if line)


def _plain(value: Any) -> Any:
    """`value` as JSON knows it: moments in UTC as ISO text, decimals as numbers, what is not finite as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
