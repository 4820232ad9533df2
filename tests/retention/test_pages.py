"""Kept pages put together by month: the same pages, in fewer files, whatever happens on the way."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.retention.shelves import NOW, fill
from tinko_pipelines.lake.intake import reparse
from tinko_pipelines.lake.raw import all_pages
from tinko_pipelines.lake.remote import ObjectStore
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.retention import pages
from tinko_pipelines.retention.freed import months_between
from tinko_pipelines.retention.pages import purge, roll_up


@pytest.fixture(params=["folder", "store"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(tmp_path)
    return Lake(tmp_path, ObjectStore(f"memory://{tmp_path}", {}, tmp_path / "copy"))


def folders(lake: Lake) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in lake.place.names("raw"):
        folder = name.rpartition("/")[0]
        found[folder] = found.get(folder, 0) + 1
    return found


def test_each_page_stays_as_it_is_and_the_tables_are_the_same(lake: Lake) -> None:
    before = [*fill(lake, 40), *fill(lake, 5, account="eu")]
    assert sum(one.new for one in reparse(lake).values()) == 90
    rows = lake.table("charges").sort_by("id").to_pylist()
    told = roll_up(lake, 1, NOW, apply=False)
    assert (told.files, folders(lake)["raw/default/2026-08-30"]) == (70, 2)
    assert roll_up(lake, 1, NOW, apply=True).files == told.files
    assert folders(lake) == {
        "raw/default/2026-08": 1, "raw/default/2026-09": 1, "raw/eu/2026-08": 1, "raw/eu/2026-09": 1,
        **{f"raw/default/2026-10-{day:02}": 2 for day in range(1, 9)},
    }  # fmt: skip
    assert sorted(all_pages(lake.place), key=repr) == sorted(before, key=repr)
    assert sum(one.written for one in reparse(lake).values()) == 0
    assert lake.table("charges").sort_by("id").to_pylist() == rows
    again = roll_up(lake, 1, NOW, apply=True)
    assert (again.files, again.size_bytes) == (0, 0)


def test_a_large_month_becomes_several_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(lake, 20)
    monkeypatch.setattr(pages, "ROLLED_BYTES", 3_000)
    roll_up(lake, 1, NOW, apply=True)
    assert 2 < folders(lake)["raw/default/2026-09"] < 20
    assert sorted(all_pages(lake.place), key=repr) == sorted(before, key=repr)


def test_old_pages_go_rolled_up_or_not_and_the_tables_stay(lake: Lake) -> None:
    fill(lake, 40)
    reparse(lake)
    roll_up(lake, 2, NOW, apply=True)
    assert purge(lake, 0, NOW, apply=True).files == 0
    told = purge(lake, 1, NOW, apply=False)
    assert (told.files, told.size_bytes > 0) == (1 + 60, True)
    purge(lake, 1, NOW, apply=True)
    assert set(folders(lake)) == {f"raw/default/2026-10-{day:02}" for day in range(1, 9)}
    assert lake.table("charges").num_rows == 80


def test_killed_anywhere_every_page_is_there_once_in_the_end(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    before = fill(lake, 33, files_a_day=4)
    for left in (120, 60, 20):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.retention.shelves", str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout
        child.stdout.readline()
        until = time.monotonic() + 20
        while sum(folders(lake).values()) > left and child.poll() is None and time.monotonic() < until:
            time.sleep(0.0005)
        child.kill()
        child.wait()
        child.stdout.close()
        assert {page.body for page in all_pages(lake.place)} == {page.body for page in before}
    roll_up(lake, 1, NOW, apply=True)
    assert sorted(all_pages(lake.place), key=repr) == sorted(before, key=repr)
    assert lake.read_note("rolling-pages") == {}


def test_months_are_whole_ones() -> None:
    assert [months_between(month, NOW) for month in ("2026-11", "2026-10", "2026-09", "2025-11")] == [
        -1,
        0,
        1,
        11,
    ]
