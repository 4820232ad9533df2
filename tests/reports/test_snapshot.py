"""What analysts open: swapped in whole, documented, read-only, and the versions before it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.reports.synthetic import AS_OF, settings_in
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.reports.dbt_runner import BuildResult, _fingerprint, built_mark, ensure_manifest
from tinko_pipelines.reports.query import query
from tinko_pipelines.reports.snapshot import drop_older, opened, publish, restore
from tinko_pipelines.reports.summary import summary
from tinko_pipelines.reports.versions import kept
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
    views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'friendly' AND comment IS NULL"
    assert query(published, views, 10).rows == []
    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'recovery' AND comment IS NULL"
    assert query(published, bare, 10).rows == []
    assert query(published, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL", 10).rows == []
    said = query(
        published, "SELECT comment FROM duckdb_tables() WHERE table_name = 'fct_failed_payments'", 1
    ).rows[0][0]
    assert "own_retry" in said
    assert "2 hours" in said


def test_the_facts_have_an_index_by_debt(published: Settings) -> None:
    found = query(published, "SELECT table_name, expressions FROM duckdb_indexes() ORDER BY ALL", 10)
    assert [tuple(row) for row in found.rows] == [
        (name, "[debt_id]") for name in ("fct_attempts", "fct_failed_payments", "fct_messages")
    ]


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


def test_friendly_views_say_the_same_in_whole_units(published: Settings) -> None:
    tables = query(published, "SELECT count(*) FROM duckdb_tables()", 1).rows
    views = "SELECT count(*) FROM duckdb_views() WHERE schema_name = 'friendly'"
    assert query(published, views, 1).rows == tables
    found = query(
        published,
        'SELECT "Currency", sum("Failed amount") FROM friendly."Failed payments" GROUP BY ALL ORDER BY ALL',
        10,
    ).rows
    minor = "SELECT currency, sum(failed_amount_minor) FROM fct_failed_payments GROUP BY ALL ORDER BY ALL"
    places = {"jpy": 1, "kwd": 1000}
    assert found == [
        [code, pytest.approx(amount / places.get(code, 100))]
        for code, amount in query(published, minor, 10).rows
    ]
    assert ["jpy", 5000] in found


def test_the_file_itself_refuses_to_be_written(published: Settings) -> None:
    assert published.snapshot_path.stat().st_mode & 0o777 == 0o444
    with pytest.raises(duckdb.Error), opened(published) as connection:
        connection.execute("CREATE TABLE recovery.main.mine AS SELECT 1")


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
        "DELETE FROM fct_attempts",
        "CREATE TABLE mine AS SELECT 1",
        "DROP TABLE fct_attempts",
        "COPY fct_attempts TO '/tmp/stolen.csv'",
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


def as_of(settings: Settings, moment: str) -> None:
    """Publish as if it had been built then."""
    built_mark(settings).write_text(moment)
    publish(settings)


@pytest.fixture
def copied(told: Told, tmp_path: Path) -> Settings:
    """The story's build in a state folder of its own, with nothing published yet."""
    settings = settings_in(tmp_path)
    for part in ("dbt", "warehouse.duckdb"):
        source, target = told[0].state / part, settings.state / part
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    mark = settings.state / "dbt" / "manifest.sha256"
    mark.write_text(_fingerprint(settings))
    return settings


def test_the_last_versions_are_kept_and_one_can_be_gone_back_to(copied: Settings) -> None:
    for day in range(1, 10):
        as_of(copied, f"2027-02-0{day}T01:40:00+00:00")
    names = [version.name for version in kept(copied)]
    assert names == [f"2027-02-0{day}T014000Z" for day in range(9, 2, -1)], "the last seven"
    assert [version.is_newest for version in kept(copied)] == [True, *[False] * 6]
    with opened(copied) as reader:
        restore(copied, "2027-02-04T014000Z")
        assert reader.execute("SELECT count(*) FROM fct_failed_payments").fetchone() == (16,)
    assert [version.name for version in kept(copied) if version.is_newest] == ["2027-02-04T014000Z"]
    restore(copied, "2027-02-04T014000Z")
    assert list(copied.state.glob(".recovery*")) == [], "not even where it was the newest already"
    with pytest.raises(InputError, match="no snapshot 'yesterday'; there are 2027-02-09T014000Z"):
        restore(copied, "yesterday")
    as_of(copied, "2027-01-01T00:00:00+00:00")
    newest = next(version for version in kept(copied) if version.is_newest)
    assert newest.name == "2027-01-01T000000Z", "a build as of an older moment is the newest all the same"
    assert drop_older(copied) == 7
    assert kept(copied) == [newest]
    assert query(copied, "SELECT count(*) FROM fct_failed_payments", 1).rows == [[16]]


def test_models_that_only_show_are_held_and_all_else_is_left_out(copied: Settings) -> None:
    with duckdb.connect(str(copied.warehouse_path)) as warehouse:
        warehouse.execute(
            "ALTER TABLE fct_messages RENAME TO behind; CREATE VIEW fct_messages AS FROM behind;"
            " CREATE SCHEMA of_somebody; CREATE TABLE of_somebody.his AS SELECT 1 AS x"
        )
    publish(copied)
    assert query(copied, "SELECT count(*) FROM fct_messages", 1).rows == [[5]]
    assert query(copied, "SELECT DISTINCT schema_name FROM duckdb_tables()", 9).rows == [["main"]]
    assert query(copied, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'behind'", 9).rows == [[0]]


def test_killed_at_any_moment_nobody_ever_reads_a_half(copied: Settings) -> None:
    publish(copied)
    chance = random.Random(11)
    environment = {**os.environ, "TINKO_STATE": str(copied.state)}
    seen = set[int]()
    for base in (100, 200, 300, 400):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.reports.publishing", str(base)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert child.stdout
        child.stdout.readline()
        until = time.monotonic() + chance.uniform(0.02, 0.4)
        while time.monotonic() < until:
            seen.add(_whole(copied.snapshot_path))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        seen.add(_whole(copied.snapshot_path))
        for version in kept(copied):
            _whole(version.path)
    assert {number // 100 for number in seen} == {1, 2, 3, 4}, "one number in all tables, each time"
    shutil.copyfile(copied.warehouse_path, copied.state / ".recovery.duckdb.99999")
    publish(copied)
    assert list(copied.state.glob(".recovery*")) == []
    assert [path.name for path in copied.snapshots_dir.iterdir() if path.name.startswith(".")] == []


def _whole(path: Path) -> int:
    """The number that a snapshot was published with, the same in each of its tables."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{path}' AS s (READ_ONLY)")
        found = connection.execute(
            "SELECT DISTINCT n FROM s.fct_attempts UNION SELECT DISTINCT step FROM s.fct_messages"
            ' UNION SELECT DISTINCT "Step" FROM s.friendly."Mails"'
        ).fetchall()
    return int(found[0][0]) if len(found) == 1 else -len(found)
