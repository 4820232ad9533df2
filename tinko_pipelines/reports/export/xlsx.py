"""Excel: cells of their own types, the header in sight, and a second sheet that says what each column is.

Text is written as text, so nothing is calculated, linked or taken for a number. Excel holds numbers of 15 digits: whole
numbers and decimals of more are written as text, so that none is changed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tinko_pipelines.errors import InputError
from tinko_pipelines.reports.export.source import Column, Source

ROWS_MAX = 1_048_576
"""Of a sheet, its header included."""
COLUMNS_MAX = 16_384
TEXT_MAX = 32_767
"""UTF-16 units in a cell."""
_EXACT = 10**15
_FIRST = date(1900, 3, 1)
"""Excel counts days from 1900 and believes that it was a leap year."""
_WIDTH_MOST = 40
_NO_SHEET_NAME = str.maketrans(dict.fromkeys("[]:*?/\\", " "))
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write(path: Path, source: Source, rows: int, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a workbook of these rows, of which there are `rows`; raises InputError where Excel cannot hold them."""
    import xlsxwriter

    if rows + 1 > ROWS_MAX or len(source.columns) > COLUMNS_MAX:
        raise InputError(
            f"{source.name} has {rows:,} rows, and a sheet of Excel holds {ROWS_MAX - 1:,} below its header:"
            " choose fewer with --where, or use --format csv or parquet"
        )
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as aside:
        book = xlsxwriter.Workbook(
            str(path),
            {"constant_memory": True, "tmpdir": aside, "use_zip64": True, "default_date_format": _MOMENT},
        )
        try:
            _Sheet(book, source).fill(batches)
            _describe(book, source)
        except Exception:
            with suppress(Exception):
                book.close()  # It lets go of its files; what it makes of them is thrown away.
            raise
        book.close()


_MOMENT, _DAY = "yyyy-mm-dd hh:mm:ss.000", "yyyy-mm-dd"


class _Sheet:
    """The rows."""

    def __init__(self, book: Any, source: Source) -> None:
        self._source = source
        self._sheet = book.add_worksheet(_sheet_name(source.name))
        self._bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        self._moment = book.add_format({"num_format": _MOMENT})
        self._day = book.add_format({"num_format": _DAY})
        self._quoted = book.add_format({"quote_prefix": True})

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        for at, column in enumerate(self._source.columns):
            self._sheet.set_column(at, at, min(max(len(column.name) + 2, 12), _WIDTH_MOST))
            self._sheet.write_string(0, at, column.name, self._bold)
        self._sheet.freeze_panes(1, 0)
        number = 0
        for batch in batches:
            values = [column.to_pylist() for column in batch.columns]
            for row in zip(*values, strict=True):
                number += 1
                self._row(number, row)
        self._sheet.autofilter(0, 0, number, len(self._source.columns) - 1)

    def _row(self, number: int, row: Sequence[Any]) -> None:
        sheet = self._sheet
        for at, value in enumerate(row):
            if value is None:
                continue
            if isinstance(value, bool):
                sheet.write_boolean(number, at, value)
            elif isinstance(value, datetime) and value.date() >= _FIRST:
                sheet.write_datetime(number, at, _in_utc(value), self._moment)
            elif isinstance(value, date) and not isinstance(value, datetime) and value >= _FIRST:
                sheet.write_datetime(number, at, value, self._day)
            elif isinstance(value, int | float | Decimal) and _is_exact(value):
                sheet.write_number(number, at, float(value))
            else:
                self._text(number, at, str(value))

    def _text(self, number: int, at: int, text: str) -> None:
        # The mark of a quoted text keeps it one when somebody edits the cell.
        quoted = self._quoted if text.startswith(_FORMULA) else None
        if self._sheet.write_string(number, at, text, quoted) == 0:
            return
        raise InputError(
            f"{self._source.name} cannot be written for Excel: row {number}, column {self._source.columns[at].name!r}"
            f" has {len(text):,} characters, and a cell holds {TEXT_MAX:,}; use --format csv or parquet"
        )


def _describe(book: Any, source: Source) -> None:
    sheet = book.add_worksheet("Columns" if source.name.lower() != "columns" else "About the columns")
    bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, 16)
    sheet.set_column(2, 2, 100)
    lines = [
        Column("column", "type", "what it is"),
        Column(source.name, "table", source.comment),
        *source.columns,
    ]
    for number, column in enumerate(lines):
        for at, text in enumerate((column.name, column.kind, column.comment)):
            sheet.write_string(number, at, text[:TEXT_MAX], bold if number == 0 else wrapped)
    sheet.freeze_panes(1, 0)


def _sheet_name(name: str) -> str:
    """Excel allows 31 characters, no apostrophe at either end, and keeps one name for itself."""
    made = name.translate(_NO_SHEET_NAME)[:31].strip("' ") or "Rows"
    return f"{made} rows" if made.lower() in ("history", "columns") else made


def _in_utc(value: datetime) -> datetime:
    """Excel knows no zones."""
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _is_exact(value: float | Decimal) -> bool:
    """Whether Excel keeps the number as it is."""
    if isinstance(value, float):
        return math.isfinite(value)
    return abs(value) < _EXACT and Decimal(repr(float(value))) == value
