"""Days put together by month: the same rows for every reader, and everything that changes rows finds them."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.lake.rows import origin, put
from tests.lake.shelf import Shelf
from tests.lake.stripe_objects import DAY, START, charge, paid
from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake import compact
from tinko_pipelines.lake.compact import IN_THE_WAY, NOTE, months, put_together
from tinko_pipelines.lake.deep import reconcile_days
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.lake.intake import reparse
from tinko_pipelines.lake.merge import Gone
from tinko_pipelines.lake.parse import parse
from tinko_pipelines.lake.remote import ObjectStore
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

NOW = datetime.fromtimestamp(START + 90 * DAY, UTC)
DAYS = 70


@pytest.fixture(params=["folder", "store"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(tmp_path)
    return Lake(tmp_path, ObjectStore(f"memory://{tmp_path}", {}, tmp_path / "copy"))


def fill(lake: Lake, days: int = DAYS) -> None:
    items = [charge(f"ch_{n:03}", START + n * DAY // 2) for n in range(days * 2)]
    rows: list[Any] = [parse(OBJECTS["charges"], item, origin(NOW)) for item in items]
    lake.upsert("charges", "default", pa.Table.from_pylist(rows, schema=OBJECTS["charges"].schema))


def together(lake: Lake) -> None:
    for month in months(lake):
        put_together(lake, month)


def files(lake: Lake) -> list[str]:
    return [name.rpartition("/")[2] for name in lake.place.names("tables/charges/default")]


def rows(lake: Lake) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.table("charges").sort_by("id").to_pylist()
    return found


def test_whatever_changes_rows_finds_them_in_their_month(lake: Lake) -> None:
    fill(lake)
    before = rows(lake)
    together(lake)
    assert files(lake) == [f"2026-{month:02}.parquet" for month in (8, 9, 10, 11)]
    assert rows(lake) == before
    assert months(lake) == []

    later = NOW + timedelta(hours=1)
    late = [
        paid(f"ch_{n:03}", START + n * DAY // 2, refunded=True, amount_refunded=1900) for n in (1, 40, 41, 90)
    ]
    assert put(lake, later, *late).changed == 4
    assert put(lake, later, charge("ch_new", START + 20 * DAY)).new == 1
    created = datetime.fromtimestamp(START + 10 * DAY, UTC)
    assert lake.bury("charges", "default", [Gone("ch_020", False, created, later)]) == 1
    lake.rewrite(
        "charges",
        "default",
        ["2026-09-10", "2026-09-11"],
        lambda day: day.filter(pc.not_equal(day["id"], "ch_024")),
    )
    assert len(files(lake)) == 4, "no file of a day comes back"
    expected = {row["id"]: row for row in before}
    found = {row["id"]: row for row in rows(lake)}
    changed = {name for name in found if found[name] != expected.get(name)}
    assert changed == {"ch_001", "ch_040", "ch_041", "ch_090", "ch_new", "ch_020"}
    assert expected.keys() - found.keys() == {"ch_024"}
    assert found["ch_041"]["amount_refunded_minor"] == 1900
    assert found["ch_020"]["deleted"]
    assert len(found) == len(rows(lake)), "each once"


def test_old_days_are_held_against_stripe_and_pages_parsed_again(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", *(charge(f"ch_{n:02}", START + n * DAY) for n in range(40)))
    lake = Lake(tmp_path)
    ingest(reader, lake, objects=["charges"], since=datetime.fromtimestamp(START, UTC), now=NOW)
    together(lake)
    names = files(lake)
    assert "2026-09.parquet" in names
    before = rows(lake)
    assert sum(one.written for one in reparse(lake).values()) == 0
    assert (rows(lake), files(lake)) == (before, names)
    shelf.put("charges", paid("ch_10", START + 10 * DAY, amount_captured=1900))
    day = datetime.fromtimestamp(START + 10 * DAY, UTC).date()
    found = reconcile_days(reader, lake, [day], now=NOW)
    assert (found.missing, found.changed) == (0, 1)
    assert [one.day for one in found.differences] == [str(day)]
    assert files(lake) == names
    lake.refuse_if_empty("default")


def test_large_months_stay_as_they_are(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lake)
    monkeypatch.setattr(compact, "ROWS_MAX", 30)
    assert {one.month for one in months(lake)} == {"2026-08", "2026-11"}


def test_while_somebody_reads_no_file_moves(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lake)
    before = files(lake)
    monkeypatch.setattr(compact, "PATIENCE_SECONDS", 0.1)
    with lake.connect("charges") as connection:
        with pytest.raises(StoreError, match=r"was read, or put together, for .* run the same command again"):
            together(lake)
        assert connection.execute("SELECT count(*) FROM charges").fetchone() == (DAYS * 2,)
    assert files(lake) == before


@pytest.mark.parametrize("month_is_there", [True, False])
def test_a_month_that_is_half_moved_is_seen_by_nobody(tmp_path: Path, month_is_there: bool) -> None:
    lake = Lake(tmp_path)
    fill(lake, 20)
    before, days = (
        rows(lake),
        {name: lake.place.read(name) or b"" for name in lake.place.names("tables/charges/default")},
    )
    (month,) = [one for one in months(lake) if one.month == "2026-09"]
    put_together(lake, month)
    if not month_is_there:
        lake.place.delete(month.file)
    lake.place.write([(name, days[name]) for name in month.days])
    lake.place.write([(f"{month.folder}/{IN_THE_WAY}", b"as a killed run left it")])
    lake.write_note(NOTE, {"folder": month.folder, "file": month.file, "days": month.days})
    assert _by_hand(f"{tmp_path}/tables/charges/**/*.parquet") == "failed"
    put(lake, NOW + timedelta(hours=1), paid("ch_020", START + 10 * DAY))
    found = rows(lake)
    assert [row["id"] for row in found] == [row["id"] for row in before]
    assert [row["id"] for row, was in zip(found, before, strict=True) if row != was] == ["ch_020"]
    assert (month.file.rpartition("/")[2] in files(lake)) is month_is_there
    assert IN_THE_WAY not in files(lake)


def test_killed_anywhere_nobody_counts_a_row_twice_or_not_at_all(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    fill(lake, 150)
    before, pattern = rows(lake), f"{tmp_path}/tables/charges/**/*.parquet"
    seen = set[str]()
    for left in (145, 90, 40):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.lake.compacting", str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout
        child.stdout.readline()
        until = time.monotonic() + 20
        while len(files(lake)) > left and child.poll() is None and time.monotonic() < until:
            seen.add(_by_hand(pattern))
            time.sleep(0.01)
        child.kill()
        child.wait()
        child.stdout.close()
        seen.add(_by_hand(pattern))
        assert rows(lake) == before, "the next reader ends what was begun"
        assert _by_hand(pattern) == "300"
    assert seen <= {"300", "failed"}
    together(lake)
    assert rows(lake) == before
    assert len(files(lake)) == 6
    assert lake.notes("compacting") == {}


def _by_hand(pattern: str) -> str:
    """What somebody counts who knows nothing of this: all, or nothing."""
    try:
        found = duckdb.sql(
            f"SELECT count(*), count(DISTINCT id) FROM read_parquet('{pattern}', union_by_name = true)"
        ).fetchall()
    except duckdb.Error:
        return "failed"
    return str(found[0][0]) if found[0][0] == found[0][1] else f"{found[0]}"
