"""Files for other programs: nothing in them is calculated, and nothing of them is lost."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.reports.payloads import payloads
from tests.test_cli import tinko
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.reports import versions
from tinko_pipelines.reports.export import export_all, export_one
from tinko_pipelines.reports.export.xlsx import ROWS_MAX
from tinko_pipelines.settings import Settings, load_settings

START = re.compile("^'*[=+\\-@＝＋－＠\t\r\n]")
WITHIN = re.compile("[;\t\r\n]\"*'*[=+\\-@＝＋－＠]")
EACH = (
    "big HUGEINT, number BIGINT, share DOUBLE, money DECIMAL(22,3), flag BOOLEAN, day DATE, moment TIMESTAMPTZ,"
    " list VARCHAR[], id UUID, text VARCHAR"
)
ROWS: list[tuple[Any, ...]] = [
    (10**25, 2**62, 0.1, Decimal("12.340"), True, date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
     ["=1", None], "00000000-0000-0000-0000-000000000001", "plain"),
    (-7, -5, -1e300, Decimal("-0.001"), False, date(1850, 1, 1), datetime(1850, 1, 1, tzinfo=UTC), [], None, "-5"),
    (None,) * 10,
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = load_settings(state=tmp_path_factory.mktemp("state"))
    partial = versions.begin(made)
    with duckdb.connect(str(partial)) as connection:
        connection.execute(
            "CREATE TABLE texts (n INTEGER, text VARCHAR); COMMENT ON COLUMN texts.text IS 'What \"it\" says.'"
        )
        connection.execute("INSERT INTO texts SELECT generate_subscripts($1, 1), unnest($1)", [payloads()])
        connection.execute(f"CREATE TABLE kinds ({EACH}); COMMENT ON TABLE kinds IS 'One of each.'")
        connection.executemany(f"INSERT INTO kinds VALUES ({', '.join('?' * 10)})", ROWS)
        connection.execute("CREATE TABLE many AS SELECT range AS n FROM range(1048576)")
        connection.execute("CREATE TABLE long AS SELECT 'ok' AS a UNION ALL SELECT repeat('x', 32768)")
        connection.execute(
            'CREATE SCHEMA friendly; CREATE VIEW friendly."Some texts" AS SELECT text AS "=The text" FROM texts'
        )
    versions.take(made, partial, datetime(2026, 11, 1, tzinfo=UTC))
    return made


def cells(path: Path, sheet: int = 1) -> list[dict[str, tuple[str, str]]]:
    """Kind and text of each cell by its column's letters, as the file has them, without the library that wrote it."""
    main = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(path) as book:
        tree = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))
    assert tree.find(f".//{main}f") is None, "there is a formula"
    assert tree.find(f".//{main}hyperlink") is None
    found = []
    for row in tree.iter(f"{main}row"):
        own = {}
        for cell in row.iter(f"{main}c"):
            kind, text = (
                cell.get("t", "n"),
                "".join(part.text or "" for part in cell.iter() if part.tag in (f"{main}t", f"{main}v")),
            )
            own[str(cell.get("r")).rstrip("0123456789")] = (
                kind,
                unescaped(text) if kind == "inlineStr" else text,
            )
        found.append(own)
    return found


def unescaped(text: str) -> str:
    """What Excel makes of `_x0001_`."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda hit: chr(int(hit[1], 16)), text)


def restored(text: str) -> str:
    """Taking away the one apostrophe."""
    return re.sub(
        "^'('*[=+\\-@＝＋－＠\t\r\n])", r"\1", re.sub("([;\t\r\n]\"*)'('*[=+\\-@＝＋－＠])", r"\1\2", text)
    )


def test_no_text_in_csv_is_taken_for_a_formula_and_none_is_lost(settings: Settings, tmp_path: Path) -> None:
    told = export_one(settings, "texts", out=tmp_path / "texts.csv")
    content = told.path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    read = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert read[0] == ["n", "text"]
    texts = [row[1] for row in read[1:]]
    assert told.rows == len(texts) == len(payloads())
    assert not [text for text in texts if re.match("[=+\\-@＝＋－＠\t\r\n]", text)]
    assert [restored(text) for text in texts] == payloads()
    quiet = [text for text in payloads() if not START.match(text) and not WITHIN.search(text)]
    assert len(quiet) > 50
    assert set(quiet) <= set(texts), "what is harmless stays as it is"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_neither_does_a_spreadsheet_that_cuts_elsewhere(
    settings: Settings, tmp_path: Path, separator: str
) -> None:
    path = export_one(settings, "texts", out=tmp_path / "texts.csv").path
    for row in csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""), delimiter=separator):
        for cell in row[1:]:
            assert not re.match("[=+\\-@＝＋－＠]", cell), row


def test_every_type_comes_back_from_csv_and_parquet(settings: Settings, tmp_path: Path) -> None:
    path = export_one(settings, "main.KINDS", out=tmp_path / "kinds.csv").path
    told = path.read_bytes()
    assert told.count(b"\r\n") == 4
    assert (
        b"10000000000000000000000000,4611686018427387904,0.1,12.340,true,2026-01-02,2026-01-02 03:04:05.678901Z,\"['=1', NULL]\","
        in told
    )
    assert b"-5,-1e+300,-0.001,false" in told, "numbers stay numbers"
    export_one(settings, "kinds", out=tmp_path / "kinds.parquet")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE TABLE kinds (" + EACH + ")")
        for source in (f"read_csv('{path}', nullstr = '', types = {kinds()})", f"'{tmp_path}/kinds.parquet'"):
            connection.execute(f"DELETE FROM kinds; INSERT INTO kinds FROM {source}")
            found = connection.execute("FROM kinds").fetchall()
            expected = [(*row[:8], row[8] and __import__("uuid").UUID(row[8]), row[9]) for row in ROWS]
            if "csv" in source:
                expected[1] = (*expected[1][:9], "'-5")
            assert found == expected


def kinds() -> dict[str, str]:
    return {
        part.split()[0]: part.split()[1]
        for part in EACH.replace("DECIMAL(22,3)", "DECIMAL(22.3)").split(", ")
    } | {"money": "DECIMAL(22,3)"}


def test_parquet_carries_text_and_documentation(settings: Settings, tmp_path: Path) -> None:
    path = export_one(settings, "texts", "parquet", tmp_path / "x").path
    table = pq.read_table(path)
    assert table["text"].to_pylist() == payloads()
    assert table.schema.field("text").metadata[b"comment"] == b'What "it" says.'
    told = pq.read_metadata(path).metadata
    assert json.loads(told[b"tinko.columns"]) == {"n": "", "text": 'What "it" says.'}
    assert told[b"tinko.table"] == b"texts"


def test_excel_holds_every_text_as_text(settings: Settings, tmp_path: Path) -> None:
    rows = cells(export_one(settings, "texts", out=tmp_path / "texts.xlsx").path)
    assert rows[0] == {"A": ("inlineStr", "n"), "B": ("inlineStr", "text")}
    assert [row["A"] for row in rows[1:4]] == [("n", "1"), ("n", "2"), ("n", "3")]
    assert {row["B"][0] for row in rows[1:]} == {"inlineStr"}
    assert [line_ends(row["B"][1]) for row in rows[1:]] == [line_ends(text) for text in payloads()]


def line_ends(text: str) -> str:
    """XML knows one kind of line end alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_excel_has_typed_cells_a_header_in_sight_and_the_documentation(
    settings: Settings, tmp_path: Path
) -> None:
    path = export_one(settings, "kinds", out=tmp_path / "kinds.xlsx").path
    _, first, second, *third = cells(path)
    assert [first[at] for at in "ABCDE"] == [
        ("inlineStr", str(10**25)), ("inlineStr", str(2**62)), ("n", "0.1"), ("n", "12.34"), ("b", "1"),
    ]  # fmt: skip
    assert first["F"] == ("n", "46024")
    moment = datetime(1899, 12, 30, tzinfo=UTC) + timedelta(days=float(first["G"][1]))
    assert abs(moment - ROWS[0][6]) < timedelta(milliseconds=1)
    assert first["H"] == ("inlineStr", "['=1', NULL]")
    assert (second["B"], second["F"], second["J"]) == (
        ("n", "-5"),
        ("inlineStr", "1850-01-01"),
        ("inlineStr", "-5"),
    )
    assert third in ([], [{}]), "null is no cell"
    about = [[cell[1] for cell in row.values()] for row in cells(path, 2)]
    assert about[:2] == [["column", "type", "what it is"], ["kinds", "table", "One of each."]]
    assert about[5][:2] == ["money", "DECIMAL(22,3)"]
    with zipfile.ZipFile(path) as book:
        assert b'state="frozen"' in book.read("xl/worksheets/sheet1.xml")
        assert b'quotePrefix="1"' in book.read("xl/styles.xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("many", "xlsx"), "1,048,576 rows, and a sheet of Excel holds 1,048,575"),
        (("long", "xlsx"), r"row 2, column 'a' has 32,768 characters, and a cell holds 32,767"),
        (("nowhere", "csv"), r"no table or view 'nowhere' .* kinds, long, many, texts; and \"Some texts\""),
        (("kinds", "ods"), "no format 'ods'; choose from csv, parquet, xlsx"),
        (("kinds", "csv", None, "nope = 1"), "kinds cannot be exported: Binder Error"),
        (
            ("kinds", "csv", None, "1) ; DROP TABLE kinds; --"),
            "kinds cannot be exported|one SELECT at a time",
        ),
        (
            ("kinds", "csv", None, "number IN (SELECT 1 FROM read_csv('/etc/passwd'))"),
            "Permission|Cannot access|disabled",
        ),
        (("kinds", "csv", None, "error('found ' || number)::BOOLEAN"), "found 46"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    settings: Settings, tmp_path: Path, arguments: Sequence[Any], said: str
) -> None:
    name, format, where = arguments[0], arguments[1], arguments[3] if len(arguments) > 3 else ""
    (tmp_path / "out").write_text("as it was")
    with pytest.raises(InputError, match=said) as caught:
        export_one(settings, name, format, tmp_path / "out", where)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "as it was"


def test_one_row_less_than_too_many_is_allowed() -> None:
    assert ROWS_MAX == 1_048_576


def test_where_it_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/x\.csv cannot be written"):
        export_one(settings, "kinds", out=tmp_path / "file" / "x.csv")
    with pytest.raises(InputError, match="is a folder"):
        export_one(settings, "kinds", out=tmp_path)


def test_all_tables_at_once_and_some_rows(settings: Settings, tmp_path: Path) -> None:
    found = export_all(settings, tmp_path / "new" / "folder", "parquet")
    assert [one.name for one in found] == ["kinds", "long", "many", "texts"]
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        f"{one.name}.parquet" for one in found
    }
    some = export_one(
        settings, "some TEXTS", out=tmp_path / "some.csv", where='length("=The text") > 31000 -- long'
    )
    assert some.rows == 1
    assert some.path.read_text("utf-8-sig").startswith('"\'=The text"')


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    out = str(tmp_path / "k.xlsx")
    done = tinko(settings.state, "export", "kinds", "--out", out, "--where", "flag", "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout.splitlines()[-1])["files"]
    assert (told["path"], told["rows"], told["format"]) == (out, 1, "xlsx")
    for wrong in (("kinds", "--all"), ("kinds", "--dir", "x")):
        done = tinko(settings.state, "export", *wrong)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


def test_killed_on_the_way_it_leaves_the_old_file(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "many.csv"
    out.write_text("old")
    command = [sys.executable, "-m", "tinko_pipelines.cli", "export", "many", "--out", str(out)]
    for format in ("csv", "xlsx"):
        where = ("--format", format, "--where", "n < 1000000")
        child = subprocess.Popen([*command, *where], env={**os.environ, "TINKO_STATE": str(settings.state)})
        until = time.monotonic() + 30
        while not list(tmp_path.glob(".many.csv.*")) and time.monotonic() < until:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert out.read_text() == "old"
        assert list(tmp_path.glob(".many.csv.*"))
    export_one(settings, "many", out=out, where="n < 3")
    assert [path.name for path in tmp_path.iterdir()] == ["many.csv"]
