"""A ledger that cannot be used, marked, exported or copied: one sentence that says which and what to do."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.ledger.rows import add_case, undone
from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger import restored
from tinko_pipelines.ledger.backup import backup, restore
from tinko_pipelines.ledger.control import accounts, charging_allowed, pause_charging
from tinko_pipelines.ledger.export import export
from tinko_pipelines.ledger.store import Ledger

NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("the ledger", "no SQLAlchemy URL: set TINKO_LEDGER_URL"),
        ("mysql://host/db", "cannot live in mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////nowhere/at/all/ledger.db", "folder /nowhere/at/all does not exist"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        Ledger.open(url)


def test_a_ledger_of_another_version_is_left_alone(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema 9999, this version knows"):
        ledger.migrate()


def test_a_moment_without_a_zone_is_refused(untouched: Ledger) -> None:
    with undone(untouched) as connection, pytest.raises(Exception, match="without time zone"):
        add_case(connection, "c", created_at=datetime(2026, 9, 10, 12))  # noqa: DTZ001


def test_a_longer_pause_replaces_a_shorter_one_and_no_shorter_one_a_longer(untouched: Ledger) -> None:
    hours = [datetime(2026, 9, 10, hour, tzinfo=UTC) for hour in (12, 13, 14, 15)]
    with undone(untouched) as connection:
        for resumes_at, taken in ((hours[1], True), (hours[2], True), (hours[1], False), (None, True)):
            found = pause_charging(
                connection, "default", "outage", "breaker", hours[0], resumes_at=resumes_at
            )
            assert found is taken
        assert not pause_charging(connection, "default", "outage", "breaker", hours[0], resumes_at=hours[3])
        assert not charging_allowed(connection, "default", hours[3])


def test_where_nothing_can_be_written_is_said(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot be exported to"):
        export(ledger, tmp_path / "file" / "export", datetime.now(UTC))
    with pytest.raises(StoreError, match="cannot be written"):
        restored.remember(ledger, tmp_path / "file" / "mark.json", ["default"])
    assert accounts(ledger) == set()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ledger": "x"}', '"text"'])
def test_a_mark_that_cannot_be_read_is_held_against_the_ledger(
    untouched: Ledger, tmp_path: Path, content: str
) -> None:
    mark = tmp_path / "mark.json"
    assert restored.strange(untouched, mark) is None
    mark.write_text(content)
    assert "cannot be read" in (restored.strange(untouched, mark) or "")


def kept_sqlite(tmp_path: Path) -> Path:
    """A backup of a SQLite ledger with some cases in it."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'kept.db'}")
    ledger.migrate()
    with ledger.write() as connection:
        for number in range(200):
            add_case(connection, f"case_{number}")
    backup(ledger, tmp_path / "kept.backup")
    ledger.close()
    return tmp_path / "kept.backup"


@pytest.mark.parametrize("harm", ["pages", "version", "no version"])
def test_a_harmed_backup_takes_no_ledgers_place(tmp_path: Path, harm: str) -> None:
    kept = kept_sqlite(tmp_path)
    if harm == "pages":
        with closing(sqlite3.connect(kept)) as connection:
            root = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'recovery_case'"
            ).fetchone()[0]
        content = bytearray(kept.read_bytes())
        content[root * 4096 - 2000 : root * 4096] = bytes(2000)
        kept.write_bytes(content)
    else:
        change = (
            "UPDATE alembic_version SET version_num = '9'"
            if harm == "version"
            else "DELETE FROM alembic_version"
        )
        with closing(sqlite3.connect(kept)) as connection:
            connection.execute(change)
            connection.commit()
    target = tmp_path / "here.db"
    url = f"sqlite:///{target}"
    said = {"pages": "is damaged", "version": "another schema", "no version": "another schema"}[harm]
    with pytest.raises(StoreError, match=said):
        restore(url, kept, replace=False)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_what_is_no_database_is_not_backed_up(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(StoreError, match="cannot be backed up"):
        backup(Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"), tmp_path / "kept.backup")
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="pg_dump failed"):
        backup(Ledger.open(NOBODY), tmp_path / "kept.backup")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept.backup").write_bytes(b"PGDMP")
    with pytest.raises(StoreError, match="cannot be read"):
        restore(NOBODY, tmp_path / "kept.backup", replace=False)


def test_a_program_that_cannot_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_dump").write_bytes(b"\x7fELF and nothing else")
    (tmp_path / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="pg_dump could not do its work"):
        backup(Ledger.open(NOBODY), tmp_path / "kept.backup")
