"""Kill points: before and after every SQL statement, commit, HTTP request and mail of a worker, by a stable name.

A name tells the way through our own functions, the statement or request, the side of it, and the database.
"""

import os
import re
import signal
import smtplib
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import requests
from sqlalchemy import event

from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.sandbox.http.journal import CALLER

_SILENT = ("ledger.store", "app", "cli", "clock", "settings", "ledger.types", "outreach.flight")
_SILENT_ROOMS = ("gateway", "sandbox")
_PASSED_THROUGH = ("drain", "run", "all_due", "_tidy", "retry", "send_due", "_send_one", "<lambda>")
_IDS = re.compile(r"/(?:in|pi|ch|cus|pm|sub)_\w+")
_TABLE = re.compile(r"(?:FROM|INTO|UPDATE|ONLY)\s+\"?(\w+)", re.IGNORECASE)
_MANY = re.compile(r"(?:%\(\w+\)s|\?|:\w+)(?:::\w+)?(?:\s*,\s*(?:%\(\w+\)s|\?|:\w+)(?:::\w+)?)*")


GROUPS = {
    "mail": r"^(outbox|send|prepare)\.",
    "inbox": r"^inbox\.",
    "janitor": r"^janitor\.",
    "settle": r"^charge\..*settle\.settle",
    "call": r"^charge\..*charge\._(begin_call|call)",
    "pre-flight": r"^charge\..*(preflight\.|charge\._tag)",
    "prepare": r"^charge\.",
    "claim": r"^drain\.",
    "around": r"",
}
"""Parts of the work by the way to a point: the first that matches. `around`: what each job does at its beginning and end."""


def group(name: str) -> str:
    """The part of the work a point belongs to."""
    way = name.split("|")[1]
    return next(part for part, pattern in GROUPS.items() if re.search(pattern, way))


Deed = tuple[str, int, Callable[[str], None]]
"""At a point whose name matches, after so many others that did: called with the address that was asked last."""


def short(name: str) -> str:
    """A name of eight digits for a point, to be written in a command."""
    return f"{zlib.crc32(name.encode()):08x}"


class Points:
    """Counts what one process passes; ends it, or does a deed, where it was told to."""

    def __init__(self, dialect: str, log: Path, caller: str) -> None:
        self._dialect, self._log, self._caller = dialect, log, caller
        self._lock = threading.RLock()
        self._names: dict[str, str] = {}
        self._shorts: dict[str, str] = {}
        self._within = threading.local()
        self.seen: Counter[str] = Counter()
        self.arm({}, [], None)

    def arm(
        self, targets: dict[str, int], deeds: list[Deed], database_dies: Callable[[], None] | None
    ) -> None:
        """For the work that comes: die at so many passings of a target (a short name), and do the deeds at theirs.

        With `database_dies`, every second target ends the database instead of this process.
        """
        self._targets, self._database_dies = dict(targets), database_dies
        self._deeds = list(deeds)

    def install(self, ledger: Ledger, about_to_charge: Callable[[str], None]) -> None:
        """Take notice of all that this process does from now on; it is never undone.

        `about_to_charge` is called with the key right before a request that can move money.
        """
        engine = ledger.engine
        event.listen(engine, "before_cursor_execute", lambda *given: self._sql(given[2], "before"))
        event.listen(engine, "after_cursor_execute", lambda *given: self._sql(given[2], "after"))
        commit: Any = engine.dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.passing("COMMIT", "before")
            commit(connection)
            self.passing("COMMIT", "after")

        engine.dialect.do_commit = do_commit  # type: ignore[method-assign]
        request, send = requests.Session.request, smtplib.SMTP.data

        def asked(session: Any, method: str, url: str, **more: Any) -> Any:
            path = _IDS.sub("/*", "/" + url.split("/", 3)[-1].partition("?")[0])
            caller = f"{self._caller}:{threading.get_ident()}"
            more["headers"] = {**(more.get("headers") or {}), CALLER: caller}
            self._within.asked = url
            self.passing(f"{method.upper()} {path}", "before")
            if method.upper() == "POST" and path.endswith(("/pay", "/confirm")):
                self._unseen(about_to_charge, more["headers"].get("Idempotency-Key", ""))
            answer = request(session, method, url, **more)
            self.passing(f"{method.upper()} {path}", "after")
            return answer

        def mailed(client: Any, *given: Any, **more: Any) -> Any:
            self.passing("MAIL", "before")
            answer = send(client, *given, **more)
            self.passing("MAIL", "after")
            return answer

        requests.Session.request = asked  # type: ignore[method-assign,assignment]
        smtplib.SMTP.data = mailed  # type: ignore[method-assign]

    def _sql(self, statement: str, side: str) -> None:
        what = self._names.get(statement)
        if what is None:
            plain = _MANY.sub("?", " ".join(statement.split()))
            table = _TABLE.search(plain)
            verb = plain.split(" ", 1)[0].upper()
            what = f"{verb} {table[1] if table else ''} {zlib.crc32(plain.encode()) & 0xFFFF:04x}"
            self._names[statement] = what
        self.passing(what, side)

    def passing(self, what: str, side: str) -> None:
        """One more event; most of the time nothing but a number changes."""
        if getattr(self._within, "deed", False):
            return
        way = _way()
        if not way:
            return
        name = f"{self._dialect}|{way}|{what}|{side}"
        with self._lock:
            self.seen[name] += 1
            if self._targets:
                self._approach(name)
            due = [deed for deed in self._deeds if re.search(deed[0], name)]
        for deed in due:
            self._do(deed)

    def _approach(self, name: str) -> None:
        """One passing less until the end, where this is a target."""
        digits = self._shorts.get(name)
        if digits is None:
            digits = self._shorts[name] = short(name)
        if digits in self._targets:
            self._targets[digits] -= 1
            if self._targets[digits] == 0:
                self._end(name)

    def _do(self, deed: Deed) -> None:
        with self._lock:
            if deed not in self._deeds:
                return
            self._deeds.remove(deed)
            pattern, skip, act = deed
            if skip > 0:
                self._deeds.append((pattern, skip - 1, act))
                return
        self._unseen(act, getattr(self._within, "asked", ""))

    def _unseen(self, act: Callable[[str], None], about: str) -> None:
        """Do something that is no part of the work."""
        self._within.deed = True
        try:
            act(about)
        finally:
            self._within.deed = False

    def _end(self, name: str) -> None:
        self.write(killed=name)
        if self._database_dies is not None and zlib.crc32(name.encode()) % 2:
            self._database_dies()
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self, killed: str = "") -> None:
        """Append what was passed to the log, which outlives this process."""
        lines = [f"seen {name}\n" for name in self.seen]
        self.seen.clear()
        if killed:
            lines.append(f"killed {killed}\n")
        with self._log.open("a") as file:
            file.write("".join(lines))


_steps: dict[CodeType, str] = {}
"""What a function of ours is called in a way; empty for everybody else's, and for those that are passed through."""


def _step(code: CodeType, module: str) -> str:
    inner, name = module.removeprefix("tinko_pipelines."), code.co_name
    silent = inner in _SILENT or inner.partition(".")[0] in _SILENT_ROOMS or name in _PASSED_THROUGH
    ours = module.startswith("tinko_pipelines.") and not silent
    return f"{inner.rpartition('.')[2]}.{name}" if ours else ""


def _way() -> str:
    """The functions of ours that lead to here, from the outside in; empty outside the work itself."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        step = _steps.get(code)
        if step is None:
            step = _steps[code] = _step(code, frame.f_globals.get("__name__", ""))
        if step and (not found or found[-1] != step):
            found.append(step)
        frame = frame.f_back
    return ">".join(reversed(found))
