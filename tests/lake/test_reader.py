"""One DuckDB for a process: sessions that know nothing of each other, files as they are, forks, and what breaks."""

import os
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.parquet import packed
from tinko_pipelines.lake.reader import session
from tinko_pipelines.lake.store import Lake


def one(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
    (row,) = connection.execute(sql).fetchall()
    return row[0]


def test_sessions_of_two_lakes_at_once_know_nothing_of_each_other(tmp_path: Path) -> None:
    first, second = Lake(tmp_path / "first"), Lake(tmp_path / "second")
    with first.connect("charges") as here, second.connect("charges", "events") as there:
        here.execute("SET VARIABLE as_of = 1")
        here.execute("CREATE TEMP TABLE intent AS SELECT 1 AS id")
        there.execute("CREATE TEMP TABLE intent AS SELECT 2 AS id")
        assert (one(here, "SELECT id FROM intent"), one(there, "SELECT id FROM intent")) == (1, 2)
        assert one(there, "SELECT getvariable('as_of')") is None
        with pytest.raises(duckdb.CatalogException, match="events"):
            here.execute("FROM events")
        paths = {
            str(one(each, "SELECT sql FROM duckdb_views() WHERE view_name = 'charges'"))
            for each in (here, there)
        }
        assert len(paths) == 2
    with session() as later, pytest.raises(duckdb.CatalogException):
        later.execute("FROM intent")


def test_a_file_replaced_by_one_of_the_same_size_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for number in range(50):
        path.with_suffix(".partial").write_bytes(packed(pa.table({"n": [number]})))
        path.with_suffix(".partial").replace(path)
        with session() as reading:
            assert one(reading, f"SELECT n FROM read_parquet('{path}')") == number


def test_after_an_error_reading_goes_on(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.connect("charges") as open_before:
        with pytest.raises(StoreError, match="cannot be read"), lake.connect("charges") as broken:
            broken.execute("SELECT no_such_column FROM charges")
        assert one(open_before, "SELECT count(*) FROM charges") == 0
    assert lake.table("charges").num_rows == 0


def test_a_child_that_was_forked_reads_with_its_own(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.connect("charges") as ours:
        child = os.fork()
        if child == 0:
            os._exit(0 if lake.table("charges").num_rows == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert one(ours, "SELECT count(*) FROM charges") == 0


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    lake, found = Lake(tmp_path), []
    threads = [
        threading.Thread(target=lambda: found.append([lake.table("charges").num_rows for _ in range(20)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0] * 20] * 4
