"""Copying a ledger out and back in by the database's own means; a file copied while it is in use would be torn."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, func, inspect, make_url, select
from sqlalchemy.exc import DBAPIError

from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.ledger.schema import recovery_case
from tinko_pipelines.ledger.store import HEAD_REVISION, Ledger
from tinko_pipelines.redact import redacted

_SQLITE, _POSTGRES = b"SQLite format 3\x00", b"PGDMP"
_FROM_URL = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
             "sslkey": "PGSSLKEY", "options": "PGOPTIONS", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER",
             "password": "PGPASSWORD", "dbname": "PGDATABASE"}  # fmt: skip
LONGEST_SECONDS = 6 * 3600
INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian and Ubuntu keep the programs of each version."""


def backup(ledger: Ledger, path: Path) -> int:
    """Write the ledger as of one moment to `path`, which must not exist; its size in bytes."""
    if path.exists():
        raise InputError(f"{path} exists: name a new file, a backup overwrites nothing")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if ledger.dialect == "sqlite":
            with closing(sqlite3.connect(ledger.engine.url.database or "", timeout=30)) as source:
                source.execute("VACUUM INTO ?", (str(partial),))
        else:
            arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"]
            _postgres("pg_dump", ledger.engine.url, arguments)
        partial.chmod(0o600)
        partial.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"the ledger cannot be backed up to {path}: {error}; make room or check its rights"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def restore(url: str, path: Path, *, replace: bool) -> None:
    """Put the backup at `path` in place of the ledger at `url`, which must be empty unless `replace` is given.

    The caller then holds all charging and mailing back; a crash before that is noticed by the mark.
    """
    kind = make_url(url).get_backend_name()
    wanted = _SQLITE if kind == "sqlite" else _POSTGRES
    try:
        with path.open("rb") as file:
            begins = file.read(len(wanted))
    except OSError as error:
        raise InputError(f"the backup {path} cannot be read: {error.strerror or error}") from error
    if begins != wanted:
        raise InputError(
            f"{path} is no backup of a {kind} ledger: name a file written by `tinko ledger backup`"
        )
    ledger = Ledger.open(url)
    try:
        if not replace and _cases(ledger):
            raise InputError("the ledger holds cases already: `--replace` puts the backup in its place")
        if kind == "sqlite":
            _restore_sqlite(path, ledger.engine.url.database or "")
        else:
            ledger.engine.dispose()
            arguments = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
            database = ledger.engine.url.database or ""
            _postgres("pg_restore", ledger.engine.url, [*arguments, f"--dbname={database}", str(path)])
        ledger.migrate()
    finally:
        ledger.close()


def _cases(ledger: Ledger) -> int:
    try:
        with ledger.read() as connection:
            if not inspect(connection).has_table(recovery_case.name):
                return 0
            return connection.execute(select(func.count()).select_from(recovery_case)).scalar_one()
    except DBAPIError as error:
        url = ledger.engine.url.render_as_string(hide_password=False)
        why = redacted(str(error.orig), url)
        raise StoreError(f"the ledger cannot be read: {why}; check TINKO_LEDGER_URL") from error


def _restore_sqlite(path: Path, target: str) -> None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source:
            sound = source.execute("PRAGMA quick_check").fetchone()[0]
            found = source.execute("SELECT version_num FROM alembic_version").fetchone()
            if sound != "ok":
                raise StoreError(f"the backup {path} is damaged ({sound}): take another one")
            if found is None or found[0] != HEAD_REVISION:
                raise StoreError(f"the backup {path} has another schema than this version of tinko-pipelines")
            with closing(sqlite3.connect(target, timeout=30)) as here:
                source.backup(here)
    except sqlite3.Error as error:
        raise StoreError(f"the backup {path} cannot be restored: {error}; take another one") from error


def _postgres(program: str, url: URL, arguments: list[str]) -> None:
    """Run one of PostgreSQL's own programs; the password goes by the environment, which `ps` does not show."""
    found = _program(program)
    named = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password,
             "PGDATABASE": url.database}  # fmt: skip
    given = {variable: url.query.get(name) for name, variable in _FROM_URL.items() if name in url.query}
    chosen = {name: str(value) for name, value in [*named.items(), *given.items()] if value is not None}
    environment = {**os.environ, **chosen}
    try:
        done = subprocess.run(  # noqa: S603
            [found, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"{program} could not do its work: {type(error).__name__}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise StoreError(
            f"{program} failed: {redacted(said[0], secrets=[environment.get('PGPASSWORD')])}; check TINKO_LEDGER_URL and that its version fits the server's"
        )


def _program(name: str) -> str:
    located = shutil.which(name)
    if located is None:
        installed = sorted(INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
        located = str(installed[-1]) if installed else None
    if located is None:
        raise StoreError(
            f"{name} is not installed here: install PostgreSQL's client programs (postgresql-client)"
        )
    return located
