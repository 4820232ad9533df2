"""CSV as spreadsheets and programs read it alike: UTF-8 with a mark, RFC 4180, and no text that is taken for a formula.

A spreadsheet calculates what begins as a formula does, whoever wrote it. Such a text gets an apostrophe before it, and so does
what would begin a cell where a spreadsheet cuts at semicolons or line ends. One apostrophe is put for each, before those
that stand there already, so that taking one away again gives the text as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

MARK = b"\xef\xbb\xbf"
"""By this Excel knows that a file is UTF-8."""
_FORMULA = "=+\\-@＝＋－＠"
_START = f"^('*[{_FORMULA}\\t\\r\\n])"
_WITHIN = f"([;\\t\\r\\n]\"*)('*[{_FORMULA}])"


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a file of these rows; numbers and times stay as they are, null is an empty cell, empty text is `""`."""
    names = neutral(pa.array(schema.names, pa.string())).to_pylist()
    plain = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    options = pa.csv.WriteOptions(eol="\r\n", quoting_style="needed")
    with path.open("wb") as file:
        file.write(MARK)
        with pa.csv.CSVWriter(file, plain, write_options=options) as writer:
            for batch in batches:
                columns = [neutral(one) if pa.types.is_string(one.type) else one for one in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=plain))


def neutral(texts: pa.Array) -> pa.Array:
    """The texts with an apostrophe before each that a spreadsheet may take for a formula."""
    begun = pc.replace_substring_regex(texts, pattern=_START, replacement=r"'\1")
    return pc.replace_substring_regex(begun, pattern=_WITHIN, replacement=r"\1'\2")
