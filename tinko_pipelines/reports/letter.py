"""The mail that carries the report: the digest as text and HTML, the page as an attachment."""

from __future__ import annotations

from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from tinko_pipelines.outreach import mime
from tinko_pipelines.outreach.transport import Mail
from tinko_pipelines.reports import words
from tinko_pipelines.reports.digest import Digest, Share
from tinko_pipelines.reports.html import render
from tinko_pipelines.settings import Settings

SUBJECT_MAX = 120


def letter(
    settings: Settings, told: Digest, page: bytes, recipient: str, message_id: str, week: str, now: datetime
) -> Mail:
    """The finished mail to one recipient; the same `message_id` is the same mail."""
    sender = mime.address(settings.mail_from)
    domain = mime.bare(sender).rpartition("@")[2] or "localhost"
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    headers = {
        "From": sender,
        "To": recipient,
        "Subject": _line(f"Payment recovery, {settings.merchant_name}: {told.headline}")[:SUBJECT_MAX],
        "Date": format_datetime(now),
        "Message-ID": f"<{message_id}@{domain}>",
        "Auto-Submitted": "auto-generated",
    }
    for name, value in headers.items():
        message[name] = value
    message.set_content(_text(settings, told), cte="quoted-printable")
    shown: dict[str, Any] = {"told": told, "merchant": settings.merchant_name}
    message.add_alternative(render("mail.html.j2", shown), subtype="html", cte="quoted-printable")
    message.add_attachment(page, maintype="text", subtype="html", filename=f"recovery-{week}.html")
    return Mail(message_id, mime.bare(sender), mime.bare(recipient), message.as_bytes())


def _text(settings: Settings, told: Digest) -> str:
    as_of = [f"As of {words.day(told.as_of)}, {told.as_of:%H:%M} UTC."] if told.as_of else []
    parts = [
        [f"Payment recovery, {_line(settings.merchant_name)}", *as_of],
        [told.headline],
        list(told.sentences),
        [
            told.compared,
            *(f"- {name}: {now}, {points} from {before}" for name, now, points, before in told.changes),
        ],
        ["By month of failure:", *map(_row, told.months)] if told.months else [],
        ["The report is attached; it opens in any browser and needs no network."],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _row(one: Share) -> str:
    note = f" ({one.note})" if one.note else ""
    return f"- {one.name}: {words.percent(one.rate)}, {words.of(one.part, one.whole)}{note}"


def _line(text: str) -> str:
    """Text that fits in a header: one line, nothing that cannot be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
