"""Opening the ledger: engine, durability options, transactions, migration, the database's own clock.

What is read and written in a transaction is the business of the other modules.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Interval,
    Table,
    create_engine,
    event,
    func,
    literal,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, OperationalError, SQLAlchemyError

from tinko_pipelines.errors import StoreError
from tinko_pipelines.redact import redacted, shown

T = TypeVar("T")
HEAD_REVISION = "0007"
OLDER_REVISIONS = ("0005", "0006")
"""Ledgers of these versions are brought up to this one."""
_MIGRATION_LOCK = 7_405_917_221
_READ_ONLY = "tinko_read_only"
_CLOCK = text("SELECT clock_timestamp()")
_NOT_WAITED_FOR = text("SET LOCAL synchronous_commit TO off")
_TRUSTED_SECONDS = 5.0
"""A connection used so lately is taken to stand; an older one is asked first."""
_TRIES_MOST = 4
_COLLISIONS = ("40P01", "40001")
"""PostgreSQL's deadlock and serialization failure."""


class Ledger:
    """One open ledger. Threads may share it; each transaction has its own connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._one_writer = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._built: dict[tuple[Hashable, ...], Any] = {}

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """Open the database at `url` (SQLite file or PostgreSQL); raises StoreError in one sentence."""
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise StoreError(
                "the ledger's address is no SQLAlchemy URL: set TINKO_LEDGER_URL, for example postgresql://user@host/db"
            ) from None
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            return cls(_storable(_sqlite_engine(url, parsed.database)))
        if backend == "postgresql":
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            engine = create_engine(parsed, pool_size=5, max_overflow=11, isolation_level="READ COMMITTED")
            return cls(_storable(_asked_before_use(engine)))
        raise StoreError(f"the ledger cannot live in {backend}: use SQLite or PostgreSQL")

    @property
    def dialect(self) -> str:
        """'sqlite' or 'postgresql'."""
        return self.engine.dialect.name

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """One writing transaction; committed at the end, rolled back on any exception.

        What need not outlive the end of the database is not waited for until it is on disk, where PostgreSQL allows it.
        """
        with self._one_writer, self.engine.begin() as connection:
            if not durable and self.dialect == "postgresql":
                connection.execute(_NOT_WAITED_FOR)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One reading transaction: what it sees does not change on SQLite; REPEATABLE READ on PostgreSQL."""
        options: dict[str, Any] = {_READ_ONLY: True}
        if self.dialect == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection for one statement, outside of any transaction."""
        options: dict[str, Any] = {_READ_ONLY: True}
        if self.dialect == "postgresql":
            options["isolation_level"] = "AUTOCOMMIT"
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    def database_now(self, connection: Connection) -> datetime:
        """The database's real clock, for leases only. SQLite's is this machine's, so it need not be asked."""
        if self.dialect == "sqlite":
            return datetime.now(UTC)
        moment: datetime = connection.execute(_CLOCK).scalar_one()
        return moment.astimezone(UTC)

    def database_moment(self, later_seconds: float = 0.0) -> ColumnElement[Any]:
        """The same clock, so much later, as an expression for a statement."""
        if self.dialect == "postgresql":
            return func.clock_timestamp() + literal(timedelta(seconds=later_seconds), Interval())
        offset = f"{later_seconds:+.3f} seconds"
        return func.strftime("%Y-%m-%dT%H:%M:%f", "now", offset).concat("000Z")

    def revision(self, connection: Connection) -> str | None:
        """The schema's, as the database has it; None where there is no schema."""
        if not self.engine.dialect.has_table(connection, "alembic_version"):
            return None
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found

    def built(self, build: Callable[..., T], *given: Hashable) -> T:
        """What `build(ledger, *given)` makes, made once: to put a statement together takes longer than to execute it."""
        key = (build, *given)
        if key not in self._built:
            self._built[key] = build(self, *given)
        made: T = self._built[key]
        return made

    def migrate(self) -> None:
        """Bring the schema to this version's; refuses a ledger of one it does not know."""
        try:
            with self.write() as connection:
                if self.dialect == "postgresql":
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                found = self.revision(connection)
                if found == HEAD_REVISION:
                    return
                if found is not None and found not in OLDER_REVISIONS:
                    raise StoreError(
                        f"the ledger has schema {found}, this version knows {HEAD_REVISION} alone: use it with the version that made it"
                    )
                _upgrade(connection)
        except DBAPIError as error:
            raise _unreachable(self.engine, error) from error

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def collided(error: Exception) -> bool:
    """Whether the database has given this transaction up only so that another one can go on."""
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in _COLLISIONS


def repeated(transaction: Callable[[], T]) -> T:
    """Do one whole transaction; again, at most `_TRIES_MOST` times, where it collided with another."""
    for tried in range(1, _TRIES_MOST):
        try:
            return transaction()
        except OperationalError as error:
            if not collided(error):
                raise
            time.sleep(0.02 * tried)
    return transaction()


def insert_ignoring(dialect: str, table: Table) -> Any:
    """An insert that leaves rows whose key is taken as they are."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as lite_insert

    return lite_insert(table).on_conflict_do_nothing()


def _unreachable(engine: Engine, error: SQLAlchemyError) -> StoreError:
    url = engine.url.render_as_string(hide_password=False)
    cause = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
    return StoreError(
        f"the ledger at {shown(url)} cannot be used: {redacted(cause[0], url)}; check TINKO_LEDGER_URL and the database"
    )


def _sqlite_engine(url: str, database: str | None) -> Engine:
    if not database or database == ":memory:":
        raise StoreError("the ledger needs a file: sqlite:////path/to/ledger.db")
    if not Path(database).parent.is_dir():
        raise StoreError(f"the ledger's folder {Path(database).parent} does not exist: create it")
    engine = create_engine(url, connect_args={"timeout": 30}, pool_size=8, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _asked_before_use(engine: Engine) -> Engine:
    """Let a connection that has lain idle say that it still stands before it is used."""

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used", time.monotonic()) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error

    return engine


def _storable(engine: Engine) -> Engine:
    """Let no text from outside stop a statement: what a database cannot hold becomes a replacement character."""

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _clean(
        _connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        return statement, _cleaned(parameters)

    return engine


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        clean = value if value.isascii() else value.encode("utf-8", "replace").decode()
        return clean.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in clean else clean
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cleaned(one) for one in value)
    return value


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
