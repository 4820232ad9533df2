"""Reports of mail servers, as they come through a pipe: what counts, for whom, and what is made up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW
from tests.outreach.post import MERCHANT, SALT, Sink, Stripe, enrolled, send
from tinko_pipelines.ledger.schema import case_event, message, suppression
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bounces
from tinko_pipelines.outreach.addresses import hash_address, read_or_make_salt, return_path
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import FileTransport

DSN = """From: MAILER-DAEMON@mx.example.org
To: {to}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I could not deliver your mail.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org
Arrival-Date: Thu, 10 Sep 2026 12:00:00 +0000

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {diagnostic}

--b
Content-Type: {returned}

Message-ID: <{name}@acme.test>
To: ann@example.org
Subject: x

--b--
"""
COMPLAINT = """From: fbl@provider.example
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

A complaint.

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: x/1
Version: 1
Original-Rcpt-To: {recipient}

--b
Content-Type: message/rfc822

Message-ID: <{name}@acme.test>
To: {recipient}
Subject: x

body

--b--
"""


def report(name: str, **changes: str) -> bytes:
    values = {
        "to": "billing@acme.test", "recipient": "ann@example.org", "action": "failed", "status": "5.1.1",
        "diagnostic": "550 5.1.1 no such user", "returned": "message/rfc822", "name": name,
    }  # fmt: skip
    return DSN.format(**{**values, **changes}).replace("\n", "\r\n").encode()


@pytest.fixture
def sent(ledger: Ledger, smtp: tuple[Sink, str]) -> str:
    """The id of a message that went to Ann."""
    stripe = Stripe()
    enrolled(ledger, stripe)
    assert send(ledger, stripe, SmtpTransport(smtp[1])).sent == 1
    return str(smtp[0].taken[0]["Message-ID"]).strip("<>").partition("@")[0]


def came_back(ledger: Ledger, content: bytes) -> bounces.Consequence | None:
    found = bounces.read_report(content, SALT)
    return None if found is None else bounces.apply(ledger, found, NOW)


def suppressed(ledger: Ledger) -> dict[str, str]:
    with ledger.read() as connection:
        rows = connection.execute(select(suppression.c.address_hmac, suppression.c.reason)).tuples()
        return {hashed: reason for hashed, reason in rows}  # noqa: C416


ANN = hash_address("ann@example.org", SALT)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "hard"),
        ({"returned": "text/rfc822-headers"}, "hard"),
        ({"status": "5.0.0"}, "hard"),
        ({"status": "5.2.1", "diagnostic": "switched off"}, "hard"),
        ({"action": "delayed", "status": "4.4.1", "diagnostic": "no answer"}, "soft"),
        ({"action": "delayed"}, "soft"),
        ({"status": "5.2.2", "diagnostic": "mailbox full"}, "soft"),
        ({"status": "5.7.1", "diagnostic": "you are on a list"}, "soft"),
    ],
)
def test_what_a_report_says(ledger: Ledger, sent: str, changes: dict[str, str], kind: str) -> None:
    found = came_back(ledger, report(sent, **changes))
    assert found == bounces.Consequence(kind, sent, 1 if kind == "hard" else 0, new=True)
    assert suppressed(ledger) == ({ANN: "hard_bounce"} if kind == "hard" else {})
    again = came_back(ledger, report(sent, **changes))
    assert again == bounces.Consequence(kind, sent, 0, new=False), "said twice it is done once"
    with ledger.read() as connection:
        assert connection.execute(select(message.c.bounce).where(message.c.id == sent)).scalar() == kind
        kinds = list(connection.execute(select(case_event.c.kind)).scalars())
        details = str(connection.execute(select(case_event.c.detail)).all())
    assert kinds.count(f"message_{kind}") == 1
    assert "@" not in details


def test_a_hard_bounce_outdoes_a_soft_one(ledger: Ledger, sent: str) -> None:
    came_back(ledger, report(sent, action="delayed", status="4.4.1"))
    assert came_back(ledger, report(sent)) == bounces.Consequence("hard", sent, 1, new=True)
    came_back(ledger, report(sent, action="delayed", status="4.4.1"))
    with ledger.read() as connection:
        assert connection.execute(select(message.c.bounce).where(message.c.id == sent)).scalar() == "hard"


def test_nobody_is_written_to_after_his_mail_came_back(
    ledger: Ledger, sent: str, smtp: tuple[Sink, str]
) -> None:
    came_back(ledger, report(sent))
    stripe = Stripe()
    stripe.add("pi_1", passes=False)
    assert send(ledger, stripe, SmtpTransport(smtp[1]), after_hours=24 * 8).dropped > 0
    assert len(smtp[0].taken) == 1


def test_a_report_that_is_made_up_suppresses_nobody(ledger: Ledger, sent: str) -> None:
    other = "0b0c0d0e-1111-2222-3333-444455556666"
    for content in (
        report(sent, recipient="bob@example.org"),
        report(other),
        report(
            sent,
            to=f"b.{sent.replace('-', '')}.0123456789abcdef@bounces.acme.test",
            recipient="bob@example.org",
        ),
    ):
        found = came_back(ledger, content)
        assert found is not None
        assert (found.suppressed, found.new) == (0, False)
    assert suppressed(ledger) == {}


def test_a_report_to_the_return_path_counts_wherever_the_mail_was_forwarded_to(
    ledger: Ledger, sent: str
) -> None:
    to = return_path(SALT, sent, "bounces.acme.test")
    found = came_back(ledger, report("no id of ours", to=to, recipient="elsewhere@forwarded.example"))
    assert found == bounces.Consequence("hard", sent, 1, new=True)
    assert suppressed(ledger) == {ANN: "hard_bounce"}


def test_a_complaint_ends_all_mail(ledger: Ledger, sent: str) -> None:
    values = {"to": "billing@acme.test", "name": sent, "recipient": "Ann@Example.org"}
    content = COMPLAINT.format(**values).encode()
    assert came_back(ledger, content) == bounces.Consequence("complaint", sent, 1, new=True)
    assert suppressed(ledger) == {ANN: "complaint"}
    forged = COMPLAINT.format(**{**values, "recipient": "bob@example.org"}).encode()
    found = came_back(ledger, forged)
    assert found is not None
    assert found.suppressed == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff" * 500,
        b"Subject: out of office\r\n\r\nback on Monday\r\n",
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\r\n--b--",
        b"Content-Type: multipart/report\r\n\r\nno boundary",
        b"Content-Type: message/delivery-status\r\n\r\nStatus: \xff\xfe5.1.1\r\n",
    ],
)
def test_what_is_no_report_changes_nothing(ledger: Ledger, sent: str, content: bytes) -> None:
    found = came_back(ledger, content)
    assert found is None or (found.suppressed, found.new) == (0, False)
    assert suppressed(ledger) == {}


def tinko(state: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from tinko_pipelines.cli import main; main()", "mail", *arguments],
        input=stdin, capture_output=True, check=False, timeout=120, env={**clean, "TINKO_STATE": str(state)},
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_by_command(tmp_path: Path) -> None:
    """The list of who is written to no more, and a report through a pipe as a mail server sends it."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    stripe = Stripe()
    enrolled(ledger, stripe)
    salt = read_or_make_salt(tmp_path / "mail.salt")
    merchant = type(MERCHANT)(*(getattr(MERCHANT, n) for n in ("sender", "name", "address", "support", "update_card_url")), salt)  # fmt: skip
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox"), merchant=merchant).sent == 1
    ledger.close()
    name = next((tmp_path / "outbox").glob("*.eml")).stem
    code, out, _ = tinko(tmp_path, "bounces", "-", "--json", stdin=report(name))
    assert (code, json.loads(out)) == (0, {"kind": "hard", "message_id": name, "suppressed": 1, "new": True})
    code, out, _ = tinko(tmp_path, "suppressed", "--json")
    (row,) = json.loads(out)["suppressed"]
    assert (row["address_hmac"], row["reason"]) == (hash_address("ann@example.org", salt), "hard_bounce")
    code, out, _ = tinko(tmp_path, "unsuppress", "ANN@example.org", "--json")
    assert json.loads(out) == {"was": "hard_bounce", "done": False}
    assert json.loads(tinko(tmp_path, "unsuppress", "ANN@example.org", "--yes", "--json")[1])["done"]
    code, _, said = tinko(tmp_path, "unsuppress", "ann@example.org", "--yes")
    assert (code, "not suppressed" in said) == (2, True)
    assert json.loads(
        tinko(tmp_path, "suppress", "ann@example.org", "--reason", "complaint", "--json")[1]
    ) == {
        "suppressed": True,
        "new": True,
    }
    assert "is none of" in tinko(tmp_path, "suppress", "ann@example.org", "--reason", "dunno")[2]
    code, out, _ = tinko(tmp_path, "show", name[:10])
    assert code == 0
    assert "https://pay.test/x" in out
    assert "<html" in tinko(tmp_path, "show", name, "--html")[1]
    assert "no message is called" in tinko(tmp_path, "show", "nosuch")[2]
    assert "not on this machine" in tinko(tmp_path, "copy", "--to", "smtp://mx.example.org")[2]
