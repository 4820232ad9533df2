"""A process that dies or falls asleep at any point, within the one that runs the tests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, event

from tinko_pipelines.errors import MailError
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime
from tinko_pipelines.outreach.transport import Mail, RefusedError, TryLaterError

WAIT_SECONDS = 60.0


class KilledError(BaseException):
    """The end of a simulated process; like the real one, no `except Exception` sees it."""


@dataclass
class Times:
    """The worker's clock and the database's, which need not agree."""

    business: datetime
    database: datetime

    def now(self) -> datetime:
        return self.business

    def advance(self, delta: timedelta) -> None:
        self.business += delta
        self.database += delta


class TimedLedger(Ledger):
    """A ledger whose database clock is set by hand, and whose every statement and commit is noticed."""

    def __init__(self, engine: Engine, times: Times) -> None:
        super().__init__(engine)
        self._times = times
        self.writes = 0
        self.passing: Callable[[str], None] = lambda _name: None
        event.listen(engine, "before_cursor_execute", lambda *_: self.passing("statement"))
        event.listen(engine, "commit", lambda _: self.passing("commit"))

    @classmethod
    def on(cls, url: str, times: Times) -> "TimedLedger":
        return cls(Ledger.open(url).engine, times)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        self.passing("begin")
        try:
            with super().write(durable=durable) as connection:
                yield connection
        finally:
            self.writes += 1

    def database_now(self, connection: Connection) -> datetime:
        return self._times.database

    def database_moment(self, later_seconds: float = 0.0) -> ColumnElement[Any]:
        later = timedelta(seconds=later_seconds)
        return bindparam(
            "moment", callable_=lambda: self._times.database + later, type_=UtcDateTime(), unique=True
        )


class Process:
    """Counts what it passes; dies at the `dies_at`-th event, or sleeps at the first boundary of a name."""

    def __init__(self, dies_at: int | None = None, sleeps_at: str | None = None) -> None:
        self.alive = True
        self._left = dies_at
        self._sleeps_at = sleeps_at
        self._lock = threading.Lock()
        self.asleep, self._wake = threading.Event(), threading.Event()
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def passing(self, name: str) -> None:
        with self._lock:
            if self._left is not None:
                self._left -= 1
                self.alive = self.alive and self._left > 0
            if not self.alive:
                raise KilledError(name)
            sleeps = name == self._sleeps_at
            if sleeps:
                self._sleeps_at = None
        if sleeps:
            self.asleep.set()
            if not self._wake.wait(WAIT_SECONDS):
                raise AssertionError("nobody woke the process")
            if not self.alive:
                raise KilledError(name)

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` until it ends or sleeps."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.failure = error
            finally:
                self.ended.set()
                self.asleep.set()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert self.asleep.wait(WAIT_SECONDS), "the process neither slept nor ended"

    def wake(self, *, kill: bool = False) -> BaseException | None:
        """Let it go on to its end, or let it find itself dead; what it ended with."""
        self.alive = self.alive and not kill
        self._wake.set()
        if self._thread is not None:
            self._thread.join(WAIT_SECONDS)
            assert not self._thread.is_alive(), "the process did not end"
        return self.failure


@dataclass
class PostBox:
    """Where mails arrive, and what its server does next: each of `moods` once, then it takes everything."""

    moods: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def sender(self, passing: Callable[[str], None]) -> "Sender":
        return Sender(self, passing)


@dataclass
class Sender:
    """The transport of one process."""

    box: PostBox
    passing: Callable[[str], None]

    def send(self, mail: Mail) -> None:
        self.passing("mail_before")
        mood = self.box.moods.pop(0) if self.box.moods else "takes"
        if mood == "later":
            raise TryLaterError("451 later")
        if mood == "refuses":
            raise RefusedError("550 no such user")
        if mood == "down":
            raise MailError("the mail server cannot be used")
        if mood == "breaks_before":
            raise ConnectionResetError
        self.box.taken.append(mail.message_id)
        if mood == "breaks_after":
            raise ConnectionResetError
        self.passing("mail_after")
