"""Reads a table of attempts from a file somebody exported, and names column and row of what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.errors import InputError
from tinko_pipelines.model.timing.schema import COLUMNS, FLAG, MOMENT, OUTCOME, SCHEMA, TEXT

TRUE = ("true", "1", "1.0", "yes", "succeeded")
FALSE = ("false", "0", "0.0", "no", "failed")
_ZONE = r":.*(Z|[+-]\d\d:?\d\d)$"
_EMPTY = ("", "null", "NULL", "NA", "NaN", "nan")


def read_attempts(path: Path, outcome: str = OUTCOME) -> pa.Table:
    """The attempts in a Parquet or CSV file, in the columns of `SCHEMA` that it has; `outcome` names its label.

    Raises InputError for a file that cannot be read, a column that is missing, and a value that is of no use.
    """
    table = _read(path)
    if outcome not in table.column_names:
        raise InputError(f"{path} has no column {outcome}; it has {', '.join(table.column_names[:30])}")
    if outcome != OUTCOME and outcome in SCHEMA.names:
        raise InputError(
            f"column {outcome} is known before an attempt, so it cannot be the outcome; name another"
        )
    for column in COLUMNS:
        if column.required and column.name not in (OUTCOME, *table.column_names):
            raise InputError(f"{path} has no column {column.name}: {column.sentence}")
    columns = {OUTCOME: boolean(table[outcome], outcome)}
    for column in COLUMNS:
        if column.name != OUTCOME and column.name in table.column_names:
            columns[column.name] = _typed(table[column.name], column.name, column.type)
    return pa.table({name: columns[name] for name in SCHEMA.names if name in columns})


def boolean(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A label as true and false; InputError names the row of the first value that is neither."""
    if pa.types.is_boolean(column.type) and not column.null_count:
        return column
    spoken = pc.utf8_lower(pc.utf8_trim_whitespace(_as_text(column)))
    good, bad = pc.is_in(spoken, pa.array(TRUE)), pc.is_in(spoken, pa.array(FALSE))
    row = pc.index(pc.or_(good, bad), False).as_py()
    if row >= 0:
        value = column[row].as_py()
        raise InputError(
            f"column {name} is no outcome: row {row + 1} holds {value!r}, and only true or false (1 or 0) will do"
        )
    return good


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            return pq.read_table(path)
        if path.suffix.lower() == ".csv":
            return _read_csv(path)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path} is neither .parquet nor .csv; save the attempts as one of them")


def _read_csv(path: Path) -> pa.Table:
    """Everything as text, so that a value that is of no use can be named."""
    from pyarrow import csv

    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = next(iter(_split(file.readline())), [])
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, TEXT), strings_can_be_null=True, null_values=list(_EMPTY)
    )
    return csv.read_csv(path, convert_options=options)


def _split(line: str) -> list[list[str]]:
    import csv

    return list(csv.reader([line]))


def _typed(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    try:
        return _cast(column, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row = _first_bad(column, kind)
        told = {MOMENT: "a moment such as 2026-01-31T08:00:00Z", FLAG: "true or false"}.get(kind, str(kind))
        value = column[row].as_py()
        raise InputError(f"column {name} holds {value!r} in row {row + 1}, which is not {told}") from None


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == TEXT:
        return _as_text(column)
    if kind == FLAG and not pa.types.is_boolean(column.type):
        return _flags(column)
    if kind != MOMENT:
        return column.cast(kind)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        zoned, nothing = pc.match_substring_regex(column, _ZONE), pa.scalar(None, column.type)
        told = pc.if_else(zoned, column, nothing).cast(MOMENT)
        plain = pc.if_else(zoned, nothing, column).cast(pa.timestamp("us"))
        return pc.coalesce(told, pc.assume_timezone(plain, "UTC"))
    if not pa.types.is_timestamp(column.type):
        raise pa.ArrowInvalid("no moments")
    plain = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return plain.cast(MOMENT) if column.type.tz else pc.assume_timezone(plain, "UTC")


def _flags(column: pa.ChunkedArray) -> pa.ChunkedArray:
    spoken = pc.utf8_lower(_as_text(column))
    good, bad = pc.is_in(spoken, pa.array(TRUE)), pc.is_in(spoken, pa.array(FALSE))
    if pc.any(pc.and_(pc.is_valid(column), pc.invert(pc.or_(good, bad)))).as_py():
        raise pa.ArrowInvalid("no flags")
    return pc.if_else(pc.is_valid(column), good, pa.scalar(None, FLAG))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(TEXT)


def _first_bad(column: pa.ChunkedArray, kind: pa.DataType) -> int:
    """The row of the first value that cannot be read, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(column.slice(low, middle - low), kind)
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
    return low
