"""That the comparison of `make spark` sees a difference, with marts made by hand in Spark's place."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.spark.compare import NEEDED, Compared, compare, spoil

MART = (
    "SELECT range AS n, 'a' AS account_id, TIMESTAMPTZ '2026-01-01 00:00+00' + to_days(range::INTEGER) AS at,"
    " range / 3 AS share FROM range(3) UNION ALL SELECT 0, 'a', NULL, 0.1 + 0.2"
)


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Path]:
    """The same marts in a warehouse, and as Spark writes them."""
    warehouse, marts = tmp_path / "warehouse.duckdb", tmp_path / "main.db"
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in NEEDED:
            (marts / name).mkdir(parents=True)
            connection.execute(f"CREATE TABLE {name} AS {MART}")
            connection.execute(f"COPY (FROM {name}) TO '{marts / name}/part-0.parquet'")
    return warehouse, marts


def different(built: tuple[Path, Path]) -> list[Compared]:
    found = compare(*built)
    assert [one.name for one in found] == sorted(NEEDED)
    return [one for one in found if not one.same]


def rewritten(built: tuple[Path, Path], name: str, sql: str) -> None:
    with duckdb.connect(str(built[0]), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({sql}) TO '{built[1] / name}/part-0.parquet'")


def test_the_same_rows_are_the_same_in_any_order_and_by_any_way_of_adding(built: tuple[Path, Path]) -> None:
    rewritten(
        built, "fct_attempts", f"SELECT * REPLACE (share + 1e-13 AS share) FROM ({MART}) ORDER BY n DESC"
    )
    assert different(built) == []


def test_one_altered_row_is_seen_in_both_directions(built: tuple[Path, Path]) -> None:
    spoil(built[1], "recovery_daily")
    [found] = different(built)
    assert (found.name, found.rows, found.lacking, found.besides) == ("recovery_daily", 4, 1, 1)
    assert "DIFFERENT recovery_daily" in found.told()


@pytest.mark.parametrize(
    ("sql", "lacking", "besides"),
    [
        (f"SELECT * FROM ({MART}) WHERE n <> 2", 1, 0),
        (f"SELECT * FROM ({MART}) UNION ALL SELECT * FROM ({MART}) WHERE n = 2", 0, 1),
        (f'SELECT * REPLACE ("at" + INTERVAL 1 MICROSECOND AS "at") FROM ({MART})', 3, 3),
        (f"SELECT * EXCLUDE (share) FROM ({MART})", 4, 0),
        (f"SELECT *, 1 AS more FROM ({MART})", 4, 0),
    ],
    ids=["a row less", "a row twice", "a microsecond", "a column less", "a column more"],
)
def test_what_else_differs(built: tuple[Path, Path], sql: str, lacking: int, besides: int) -> None:
    rewritten(built, "fct_messages", sql)
    [found] = different(built)
    assert (found.name, found.lacking, found.besides) == ("fct_messages", lacking, besides)


def test_a_table_that_spark_did_not_write_is_a_difference(built: tuple[Path, Path]) -> None:
    (built[1] / "dim_customers" / "part-0.parquet").unlink()
    [found] = different(built)
    assert (found.name, found.lacking) == ("dim_customers", 4)
    assert "no such table" in found.told()


def test_a_needed_mart_that_duckdb_did_not_build_ends_it(built: tuple[Path, Path]) -> None:
    with duckdb.connect(str(built[0])) as connection:
        connection.execute("DROP TABLE recovery_cohorts")
    with pytest.raises(SystemExit, match="recovery_cohorts"):
        compare(*built)
