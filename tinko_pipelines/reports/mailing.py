"""The report by mail, once in an ISO week: who is to get it, what went out already, and the mail itself.

A mail cannot be sent exactly once. As a receipt does, it goes out at least once and at most twice, with the same Message-ID: what is
about to be handed over is written down before, so that after a crash it is known which may have gone out.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinko_pipelines.errors import MailError, SettingsError, StoreError
from tinko_pipelines.lake.files import sync
from tinko_pipelines.outreach import mime
from tinko_pipelines.outreach.transport import RefusedError, Transport, TryLaterError
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    from tinko_pipelines.outreach.transport import Mail
    from tinko_pipelines.reports.digest import Digest

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RECIPIENTS_MAX = 50
HANDED_OVER_MAX = 2
"""So often a mail may go out whose outcome nobody knows."""
DONE = ("sent", "refused")
Marks = dict[str, dict[str, str | int]]


@dataclass(frozen=True, slots=True)
class Mailed:
    """What became of a week's report: counts of recipients. `later` will be asked for again, `in_doubt` may have it or not."""

    week: str
    sent: int = 0
    had_it: int = 0
    refused: int = 0
    later: int = 0
    in_doubt: int = 0

    def counts(self) -> dict[str, str | int]:
        """The numbers by name."""
        return asdict(self)


def week_of(now: datetime) -> str:
    """The ISO week of a moment in UTC, `2026-W48`."""
    year, week, _ = now.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def recipients(settings: Settings) -> list[str]:
    """Who gets the report, as headers have it; raises SettingsError for what is no address."""
    given = [one.strip() for one in settings.report_recipients.split(",") if one.strip()]
    if len(given) > RECIPIENTS_MAX:
        raise SettingsError(
            f"TINKO_REPORT_RECIPIENTS: at most {RECIPIENTS_MAX}; write to a list of your own instead"
        )
    try:
        found: dict[str, str] = {}
        for one in given:
            found.setdefault(mime.bare(one).lower(), mime.address(one))
        return list(found.values())
    except ValueError as error:
        raise SettingsError(f"TINKO_REPORT_RECIPIENTS: {error}") from None


def waiting(settings: Settings, now: datetime) -> int:
    """How many still wait for this week's report, from its day on; 0 before it, and without recipients."""
    if now.astimezone(UTC).weekday() < DAYS.index(settings.report_day):
        return 0
    week = week_of(now)
    marks = _read(settings, week)
    return sum(not _is_done(marks, _id(week, one)) for one in recipients(settings))


def mail_report(settings: Settings, transport: Transport, told: Digest, page: bytes, now: datetime) -> Mailed:
    """Send the page to everybody who has not had this week's; raises MailError when the server cannot be used.

    What is certain not to have gone out is left for the next time.
    """
    from tinko_pipelines.reports.letter import letter

    week, tally = week_of(now), Counter[str]()
    with _only_one(settings):
        marks = _read(settings, week)
        for recipient in recipients(settings):
            id = _id(week, recipient)
            if _is_done(marks, id):
                tally["had_it" if marks[id]["state"] in DONE else "in_doubt"] += 1
                continue
            mail = letter(settings, told, page, recipient, id, week, now)
            tally[_hand_over(settings, transport, mail, marks, week)] += 1
    return Mailed(week, **tally)


def send_report(settings: Settings, told: Digest, page: bytes, now: datetime) -> Mailed:
    """The same through the transport of the settings. Raises SettingsError where that sends nothing, or no attachments."""
    from tinko_pipelines.outreach.providers import transport_for

    if not recipients(settings):
        raise SettingsError("nobody gets the report: set TINKO_REPORT_RECIPIENTS")
    if not settings.mails_for_real:
        raise SettingsError("no mail is sent in a dry run: TINKO_MAILING=on makes it real")
    if settings.mail_transport == "postmark":
        raise SettingsError(
            "the report cannot go through Postmark's HTTP API, by which no attachments are sent here; its SMTP server takes"
            " them: TINKO_MAIL_TRANSPORT=smtp with TINKO_SMTP_URL=smtp://TOKEN:TOKEN@smtp.postmarkapp.com:587"
        )
    transport = transport_for(settings)
    try:
        return mail_report(settings, transport, told, page, now)
    finally:
        transport.close()


def _hand_over(settings: Settings, transport: Transport, mail: Mail, marks: Marks, week: str) -> str:
    id, before = mail.message_id, marks.get(mail.message_id, {"state": "waiting", "handed_over": 0})
    marks[id] = {"state": "calling", "handed_over": int(before["handed_over"]) + 1}
    _write(settings, week, marks)
    try:
        transport.send(mail)
    except TryLaterError:
        marks[id], found = before, "later"
    except RefusedError:
        marks[id], found = {**marks[id], "state": "refused"}, "refused"
    except MailError:
        marks[id] = before
        _write(settings, week, marks)
        raise
    except Exception:
        # What broke after the mail was begun: the mark says so already, and allows it once more.
        return "in_doubt"
    else:
        marks[id], found = {**marks[id], "state": "sent"}, "sent"
    _write(settings, week, marks)
    return found


def _is_done(marks: Marks, id: str) -> bool:
    found: Mapping[str, str | int] = marks.get(id, {})
    return found.get("state") in DONE or int(found.get("handed_over", 0)) >= HANDED_OVER_MAX


def _id(week: str, recipient: str) -> str:
    """The same for a recipient all week; it names nobody."""
    return f"report-{week}-{sha256(mime.bare(recipient).lower().encode()).hexdigest()[:16]}"


def _mark(settings: Settings) -> Path:
    return settings.state / "report-mailed.json"


def _read(settings: Settings, week: str) -> Marks:
    """The marks of this week; those of another are no longer of interest."""
    try:
        found = json.loads(_mark(settings).read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise StoreError(
            f"{_mark(settings)} cannot be read, so nobody knows who has the report; delete it to send it again"
        ) from None
    marks: Marks = found["mails"] if found["week"] == week else {}
    return marks


def _write(settings: Settings, week: str, marks: Marks) -> None:
    path = _mark(settings)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps({"week": week, "mails": marks}))
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; make room or check its rights"
        ) from error


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Two at once would both send what neither has marked yet."""
    import fcntl

    settings.state.mkdir(parents=True, exist_ok=True)
    with (settings.state / "report-mailed.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                "the report is being mailed by another process; look again in a minute"
            ) from None
        yield
