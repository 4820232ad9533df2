"""What analysts open: swapped in whole, documented, read-only."""

import json
from pathlib import Path

import duckdb
import pytest

from tests.reports.synthetic import AS_OF, settings_in
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.reports.dbt_runner import BuildResult, built_mark, ensure_manifest
from tinko_pipelines.reports.query import query
from tinko_pipelines.reports.snapshot import publish
from tinko_pipelines.reports.summary import summary
from tinko_pipelines.settings import Settings

Told = tuple[Settings, BuildResult]


@pytest.fixture(scope="module")
def published(told: Told) -> Settings:
    assert publish(told[0]) == told[0].snapshot_path
    return told[0]


def test_the_snapshot_holds_the_marts_alone(published: Settings) -> None:
    found = query(published, "SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL", 100)
    assert {row[0] for row in found.rows} == {"main"}
    manifest = json.loads(ensure_manifest(published).read_text())
    marts = {
        node["name"]
        for node in manifest["nodes"].values()
        if "marts" in node["fqn"] and node["resource_type"] == "model"
    }
    assert {row[1] for row in found.rows} == marts
    assert {"fct_failed_payments", "fct_attempts", "fct_messages", "dim_customers", "recovery_daily"} < marts


def test_every_table_and_column_carries_its_documentation(published: Settings) -> None:
    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'recovery' AND comment IS NULL"
    assert query(published, bare, 10).rows == []
    assert query(published, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL", 10).rows == []
    said = query(
        published, "SELECT comment FROM duckdb_tables() WHERE table_name = 'fct_failed_payments'", 1
    ).rows[0][0]
    assert "own_retry" in said
    assert "2 hours" in said


def test_an_open_reader_keeps_its_file_and_a_new_one_gets_the_new(published: Settings) -> None:
    with duckdb.connect(str(published.snapshot_path), read_only=True) as old:
        assert old.execute("SELECT count(*) FROM fct_failed_payments").fetchone() == (16,)
        with duckdb.connect(str(published.warehouse_path)) as warehouse:
            warehouse.execute(
                "BEGIN; CREATE TABLE kept AS FROM fct_failed_payments; DELETE FROM fct_failed_payments; COMMIT"
            )
        try:
            publish(published)
            assert query(published, "SELECT count(*) FROM fct_failed_payments", 1).rows == [[0]]
            assert old.execute(
                "SELECT count(*), count(DISTINCT customer_id) FROM fct_failed_payments"
            ).fetchone() == (16, 15)
        finally:
            with duckdb.connect(str(published.warehouse_path)) as warehouse:
                warehouse.execute("BEGIN; INSERT INTO fct_failed_payments FROM kept; DROP TABLE kept; COMMIT")
            publish(published)
    assert list(published.state.glob(".recovery*")) == []


def test_without_a_whole_build_the_old_snapshot_stays(published: Settings) -> None:
    before = published.snapshot_path.stat()
    mark = built_mark(published).read_text()
    built_mark(published).unlink()
    with pytest.raises(StoreError, match="no finished build"):
        publish(published)
    built_mark(published).write_text(mark)
    assert published.snapshot_path.stat().st_ino == before.st_ino


def test_a_copy_that_fails_leaves_the_old_snapshot(published: Settings) -> None:
    before = published.snapshot_path.read_bytes()
    with duckdb.connect(str(published.warehouse_path)) as warehouse:
        warehouse.execute("ALTER TABLE fct_attempts RENAME TO away")
    try:
        with pytest.raises(StoreError, match="cannot be published"):
            publish(published)
    finally:
        with duckdb.connect(str(published.warehouse_path)) as warehouse:
            warehouse.execute("ALTER TABLE away RENAME TO fct_attempts")
    assert published.snapshot_path.read_bytes() == before
    assert list(published.state.glob(".recovery*")) == []


def test_without_a_snapshot_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `tinko report` first"):
        query(settings_in(tmp_path), "SELECT 1", 1)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM attempts",
        "CREATE TABLE mine AS SELECT 1",
        "DROP TABLE attempts",
        "COPY attempts TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "SET enable_external_access = true",
    ],
)
def test_writes_are_refused_in_one_sentence(published: Settings, sql: str) -> None:
    with pytest.raises(InputError, match=r"^the snapshot is read-only: \w+ is refused.*$"):
        query(published, sql, 10)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; SELECT 2", "one SELECT at a time"),
        ("", "one SELECT at a time"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Cannot access file"),
        ("SELECT 1/0 AS x, error('mine')", "mine"),
    ],
)
def test_what_cannot_be_answered_is_one_line(published: Settings, sql: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        query(published, sql, 10)
    assert "\n" not in str(caught.value)


def test_values_are_json(published: Settings) -> None:
    sql = (
        "SELECT 1.50::decimal(9,2) AS part, sum(n)::hugeint AS whole, date '2026-01-02' AS day,"
        " timestamptz '2026-01-02 03:04:05+02' AS moment, interval 1 day AS span, [1, 2] AS list, {'a': 1} AS struct,"
        " 'nan'::double AS nothing, 'ab'::blob AS bytes, uuid() AS id FROM range(3) t(n)"
    )
    found = query(published, sql, 10)
    assert found.columns[:3] == ["part", "whole", "day"]
    row = json.loads(json.dumps(found.rows[0]))
    assert row[:9] == [1.5, 3, "2026-01-02", "2026-01-02T01:04:05Z", 86400.0, [1, 2], {"a": 1}, None, "6162"]


def test_no_more_rows_than_asked_for(published: Settings) -> None:
    found = query(published, "SELECT * FROM range(5)", 2)
    assert (found.rows, found.truncated) == ([[0], [1]], True)
    assert not query(published, "SELECT * FROM range(5)", 5).truncated
    assert query(published, "DESCRIBE fct_failed_payments", 100).rows


def test_the_summary_is_what_the_marts_say(published: Settings) -> None:
    found = summary(published)
    assert found["failed_count"] == 16
    assert found["recovered_count"] == 7
    assert found["recovery_rate_count"] == pytest.approx(7 / 16)
    assert found["by_currency"]["usd"]["failed_amount_minor"] == 29000
    assert found["by_currency"]["usd"]["recovered_amount_minor"] == 5700
    assert found["by_currency"]["usd"]["recovery_rate_amount"] == pytest.approx(5700 / 29000)
    assert found["by_currency"]["jpy"]["recovery_rate_amount"] == 1.0
    assert (found["attempts"], found["messages"]) == (3, 4)
    assert found["attempts_per_recovery"] == pytest.approx(3 / 7)
    assert {row["recovered_by"]: row["recovered_count"] for row in found["by_reason"]} == {
        "own_retry": 1, "stripe_retry": 1, "after_mail": 1, "customer": 3, "other": 1,
    }  # fmt: skip
    assert sum(row["failed_count"] for row in found["by_category"]) == 16
    assert found["as_of"] == AS_OF.isoformat()
    assert json.loads(json.dumps(found)) == found
