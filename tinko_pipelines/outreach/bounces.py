"""Mails that came back: reading what a mail server reports of them, and drawing the consequence.

A report may be made up by anybody who can send mail, so it only counts for an address we wrote to by that message: one that
came to the message's own return path, which nobody can make up, or one that names the address the message went to.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, message_from_string
from email.message import Message
from email.utils import parseaddr
from typing import Any

from sqlalchemy import or_, select

from tinko_pipelines.ledger.cases import record
from tinko_pipelines.ledger.schema import message, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.addresses import hash_address, message_of
from tinko_pipelines.outreach.suppression import suppress
from tinko_pipelines.outreach.transport import is_about_recipient, status_in

MOST_BYTES = 1_000_000
"""Of a longer report only its beginning is read."""
_SENT_TO = ("To", "Delivered-To", "X-Original-To", "Envelope-To")
_OUR_ID = re.compile(r"<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@")
_SUPPRESSES = {"hard": "hard_bounce", "complaint": "complaint", "unsubscribed": "unsubscribed"}


@dataclass(frozen=True, slots=True)
class Report:
    """What came back: `hard`, `soft`, `complaint` or `unsubscribed`; of which message, and about whom, by hashes.

    `names_message` says that the report cannot be made up; `is_trusted` that its sender is known to us.
    """

    kind: str
    detail: str
    message_id: str | None
    addresses: frozenset[str] = field(default_factory=frozenset)
    names_message: bool = False
    is_trusted: bool = False


@dataclass(frozen=True, slots=True)
class Consequence:
    """What was made of a report."""

    kind: str
    message_id: str | None
    suppressed: int
    new: bool


def read_report(content: bytes, salt: bytes) -> Report | None:
    """A delivery report (RFC 3464) or a complaint (RFC 5965) about a mail; None for any other mail."""
    mail = message_from_bytes(content[:MOST_BYTES])
    parts = list(mail.walk())
    by_path = message_of(salt, " ".join(_values([mail], _SENT_TO)))
    message_id = by_path or _named(parts)
    recipients = _recipients(parts)
    complaint = _complaint(parts)
    if complaint is not None:
        about = frozenset(hash_address(one, salt) for one in complaint)
        return Report("complaint", "a complaint was reported", message_id, about, by_path is not None)
    if not recipients:
        return None
    kind, detail = max(map(_judged, recipients), key=lambda judged: judged[0] == "hard")
    about = frozenset(hash_address(one, salt) for row in recipients for one in _addresses(row))
    return Report(kind, detail, message_id, about, by_path is not None)


def apply(ledger: Ledger, report: Report, now: datetime) -> Consequence:
    """Write down what came back, and suppress whom it is about; said twice it is done once."""
    row = _message(ledger, report.message_id)
    about = _about(report, row)
    new = row is not None and bool(about or report.is_trusted) and _noted(ledger, row, report, now)
    reason = _SUPPRESSES.get(report.kind)
    added = sum(suppress(ledger, one, reason, now) for one in sorted(about)) if reason else 0
    return Consequence(report.kind, row["id"] if row else None, added, new)


def _about(report: Report, row: dict[str, Any] | None) -> set[str]:
    """Whose addresses a report may speak of."""
    if report.is_trusted:
        return set(report.addresses)
    wrote_to = row["address_hmac"] if row else None
    if wrote_to is None:
        return set()
    return {wrote_to} if report.names_message or wrote_to in report.addresses else set()


def _message(ledger: Ledger, message_id: str | None) -> dict[str, Any] | None:
    if message_id is None:
        return None
    query = (
        select(message, recovery_case.c.state.label("case_state"))
        .outerjoin(recovery_case, recovery_case.c.id == message.c.case_id)
        .where(message.c.id == message_id, message.c.claimed_at.is_not(None))
    )
    with ledger.read() as connection:
        found = connection.execute(query).mappings().first()
    return dict(found) if found else None


def _noted(ledger: Ledger, row: dict[str, Any], report: Report, now: datetime) -> bool:
    """Keep it with the message: the first report, and one that says more than a soft bounce before it."""
    outdone = () if report.kind == "soft" else (message.c.bounce == "soft",)
    fresh = or_(message.c.bounce.is_(None), *outdone)
    with ledger.write() as connection:
        query = message.update().where(message.c.id == row["id"], fresh)
        if connection.execute(query.values(bounce=report.kind, bounced_at=now)).rowcount != 1:
            return False
        if row["case_id"] is None:
            return True
        case = {"id": row["case_id"], "account_id": row["account_id"], "state": row["case_state"]}
        detail = f"step {row['step']}: {report.detail}"
        record(connection, case, now, "mail", f"message_{report.kind}", detail=detail)
        return True


def _judged(row: Message) -> tuple[str, str]:
    """Whether the address is at fault for good, and by which code."""
    status = status_in(str(row.get("Status", ""))) or ""
    if status.endswith(".0.0"):
        status = status_in(str(row.get("Diagnostic-Code", ""))) or status
    action = str(row.get("Action", "")).strip().lower()
    hard = action == "failed" and is_about_recipient(status)
    words = f"{action if action in ('failed', 'delayed') else 'reported'} {status}".strip()
    return "hard" if hard else "soft", words


def _recipients(parts: Iterable[Message]) -> list[Message]:
    """The fields of each recipient a report says something bad about."""
    fields: list[Message] = []
    for part in parts:
        if part.get_content_type() == "message/delivery-status" and isinstance(part.get_payload(), list):
            fields += [one for one in part.get_payload() if isinstance(one, Message)]
    return [
        one
        for one in fields
        if str(one.get("Action", "")).strip().lower() in ("failed", "delayed")
        or str(one.get("Status", "")).strip().startswith(("4.", "5."))
    ]


def _addresses(row: Message) -> Iterator[str]:
    for value in _values([row], ("Final-Recipient", "Original-Recipient")):
        address = parseaddr(value.partition(";")[2].strip() or value)[1]
        if "@" in address:
            yield address


def _complaint(parts: list[Message]) -> list[str] | None:
    """Whom a feedback report says it comes from; None when this is none."""
    reports = [part for part in parts if part.get_content_type() == "message/feedback-report"]
    if not reports:
        return None
    # The parser takes its fields for a mail's header; other machines put them into a body.
    inner = [one for part in reports for one in part.walk()]
    fields = [message_from_string(str(one.get_payload())) for one in inner if not one.is_multipart()]
    ours = [part for part in parts if _OUR_ID.search(str(part.get("Message-ID", "")))]
    named = [*_values([*inner, *fields], ("Original-Rcpt-To",)), *_values(ours, ("To",))]
    return [address for one in named if "@" in (address := parseaddr(one)[1])]


def _named(parts: Iterable[Message]) -> str | None:
    """The message of ours that a part of the report brings back, as a mail or as its headers."""
    for part in parts:
        text = str(part.get("Message-ID", ""))
        if part.get_content_type() == "text/rfc822-headers":
            text = str(part.get_payload())
        found = _OUR_ID.search(text)
        if found:
            return found[1]
    return None


def _values(parts: Iterable[Message], names: Iterable[str]) -> list[str]:
    wanted = tuple(names)
    return [str(value) for part in parts for name in wanted for value in part.get_all(name, [])]
