"""What a mail consists of, as it arrives: its headers, its thread, the way out of it; and that it is kept as it was sent."""

import json
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DatabaseError

from tests.fake_stripe import NOW
from tests.outreach.post import MERCHANT, SALT, Sink, Stripe, enrolled, many, send, states
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.export import export
from tinko_pipelines.ledger.schema import message, message_body, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, sequences
from tinko_pipelines.outreach.addresses import hash_address, unsubscribing
from tinko_pipelines.outreach.merchant import Merchant, compose
from tinko_pipelines.outreach.render import Content, Letter, Owed, render
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.settings import Settings

PUBLIC = Merchant(
    "Müller & Söhne <billing@acme.test>", "Müller", "1 Road", "help@acme.test", "https://pay.test/x", SALT,
    "https://a-rather-long-name.payments.merchant.example",
)  # fmt: skip


def test_a_mail_can_be_stopped_with_one_click(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    assert send(ledger, stripe, SmtpTransport(url), merchant=PUBLIC).sent == 1
    (mail,), (raw,) = sink.taken, sink.bodies
    page, by_mail = mail["List-Unsubscribe"].split(", ")
    assert page.startswith("<https://a-rather-long-name.payments.merchant.example/unsubscribe/")
    assert by_mail == "<mailto:help@acme.test?subject=stop%20reminders>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert b"List-Unsubscribe: <https://" in raw, "what is long must not be encoded"
    token = page.strip("<>").rpartition("/")[2]
    known = unsubscribing(SALT, ["other", "default"], token)
    assert known == ("default", hash_address("ann@example.org", SALT))
    for wrong in (token[:-1], token + "A", "A" * 86, "", token.swapcase(), f"{token[:40]}A{token[41:]}"):
        assert unsubscribing(SALT, ["default"], wrong) is None
    assert unsubscribing(b"another salt", ["default"], token) is None
    assert unsubscribing(SALT, ["other"], token) is None
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) < 998


def test_without_a_public_address_mail_is_stopped_by_mail(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    send(ledger, stripe, SmtpTransport(url))
    assert sink.taken[0]["List-Unsubscribe"] == "<mailto:help@acme.test?subject=stop%20reminders>"
    assert sink.taken[0]["List-Unsubscribe-Post"] is None


def test_later_mails_of_a_case_are_in_the_thread_of_the_first(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    for days in (0, 4, 8):
        send(ledger, stripe, SmtpTransport(url), after_hours=24 * days)
    first, second, third = sink.taken
    assert (first["In-Reply-To"], first["References"]) == (None, None)
    for later in (second, third):
        assert (later["In-Reply-To"], later["References"]) == (first["Message-ID"],) * 2
    assert len({mail["Message-ID"] for mail in sink.taken}) == 3


def test_what_was_sent_can_be_read_again(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    send(ledger, stripe, SmtpTransport(url))
    name = sink.taken[0]["Message-ID"].strip("<>").partition("@")[0]
    assert bodies.fixed(ledger, name, SALT) == sink.bodies[0]
    found = bodies.shown(ledger, name[:8], SALT)
    assert found["headers"]["To"] == "ann@example.org"
    assert "https://pay.test/x" in found["text"]
    assert "<html" in found["html"]
    assert found["message"]["state"] == "sent"
    with ledger.read() as connection:
        content = connection.execute(select(message_body.c.content)).scalar_one()
    assert b"pay.test" not in content
    assert bodies.fixed(ledger, name, b"another folder") is None
    assert bodies.opened(content, "another message", SALT) is None
    assert bodies.opened(content[:5], name, SALT) is None


def test_a_mail_that_is_put_off_goes_out_as_it_was_written(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    sink.thanks = "451 later"
    send(ledger, stripe, SmtpTransport(url))
    stripe.customer["name"] = "Somebody Else"
    sink.thanks = "250 OK"
    assert send(ledger, stripe, SmtpTransport(url), after_hours=1).sent == 1
    assert sink.bodies[0] == sink.bodies[1]


def test_a_mail_is_not_sent_to_where_its_customer_is_no_more(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    sink.thanks = "451 later"
    send(ledger, stripe, SmtpTransport(url))
    stripe.customer["email"] = "new@example.org"
    assert send(ledger, stripe, SmtpTransport(url), after_hours=1).dropped == 1
    assert states(ledger)[0] == ("dropped", "the address has changed since it was written")


def test_the_database_keeps_what_a_mail_says(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    send(ledger, stripe, SmtpTransport(smtp[1]))
    for statement in (
        update(message_body).values(content=b"other"),
        update(message_body).values(content=None, sha256=None),
        message_body.delete(),
    ):
        with pytest.raises(DatabaseError, match="what a message says"), ledger.write() as connection:
            connection.execute(statement)
    with pytest.raises(DatabaseError, match="what a message is of"), ledger.write() as connection:
        connection.execute(update(message).where(message.c.variant.is_not(None)).values(variant="z"))
    with pytest.raises(DatabaseError, match="what a message is of"), ledger.write() as connection:
        connection.execute(update(message).values(deferrals=-1))


PAYLOADS = (
    "a\r\nBcc: evil@example.org",
    "a\nX-Evil: 1",
    "a\r\n\r\n<script>",
    "a\x0bX-Evil: 1",
    "a\u2028X-Evil: 1",
    "a\x85X-Evil: 1",
    "=?utf-8?q?a=0D=0AX-Evil:_1?=",
    "\r\n.\r\nMAIL FROM:<evil@example.org>",
)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("field", ["name", "merchant", "support", "sender"])
def test_no_value_makes_a_header(field: str, payload: str) -> None:
    """What a person typed becomes one line; what the operator set is refused where it would be more."""
    changed = {"name": payload} if field == "name" else {}
    letter = Letter(
        "update_card",
        "en",
        Owed(1200, "eur", NOW),
        changed.get("name", "Ann"),
        "https://x.test",
        "A",
        "s@x.test",
        "",
    )
    merchant = {
        "merchant": lambda: Merchant("a <a@b.test>", payload, "", "s@x.test", None, SALT),
        "support": lambda: Merchant("a <a@b.test>", "A", "", payload, None, SALT),
        "sender": lambda: Merchant(payload, "A", "", "s@x.test", None, SALT),
    }.get(field, lambda: MERCHANT)()
    try:
        raw = compose(render(letter), "b@example.org", merchant, "0" * 32, NOW, account_id="default")
    except ValueError as error:
        assert field in ("support", "sender"), error
        return
    head = raw.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nx-evil" not in head
    assert b"\r\nbcc" not in head
    assert b"\nmail from" not in head
    assert b"\n.\r\n" not in raw


def of_two_subjects(folder: Path) -> Merchant:
    """A merchant whose first mails have one of two subjects."""
    told = json.loads(sequences.DEFAULT_FILE.read_bytes())
    for sequence in told["sequences"]:
        for step in sequence["steps"]:
            if step["template"] == "details":
                step["subjects"] = ["plain", "reminder"]
    path = folder / "sequences.json"
    path.write_text(json.dumps(told))
    return replace(MERCHANT, sequences=sequences.load(path))


def test_each_mail_has_one_of_its_subjects_for_good(
    ledger: Ledger, smtp: tuple[Sink, str], tmp_path: Path
) -> None:
    sink, url = smtp
    stripe, merchant = many(ledger, 12), of_two_subjects(tmp_path)
    assert send(ledger, stripe, SmtpTransport(url), merchant=merchant).sent == len(sink.taken) == 12
    with ledger.read() as connection:
        query = select(message.c.id, message.c.subject, message.c.variant).where(message.c.state == "sent")
        rows = connection.execute(query).all()
    step = merchant.sequences.step('{"sequence": "details@mails-1"}', 1)
    assert all(row.variant == sequences.subject_for(step, "details", row.id) for row in rows)
    assert len({(row.variant, row.subject) for row in rows}) == len({row.variant for row in rows}) == 2


@pytest.mark.parametrize(
    "subject",
    [
        "Short",
        "word " * 40,
        "Ihre Zahlung über 12,00 € an Müller & Söhne " * 4,
        "தமிழ் எழுத்து " * 12,
        "y" * 200,
        "",
    ],
)
def test_a_subject_of_any_language_and_length_arrives(subject: str) -> None:
    content = Content(subject.strip(), "<p>h</p>", "t", "en", "plain")
    raw = compose(content, "b@example.org", MERCHANT, "0" * 32, NOW, account_id="default")
    assert str(bodies.parsed(raw)["Subject"]) == subject.strip()
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    longest = max(
        len(line) for line in head.split(b"\r\n") if b"<" not in line and not line.startswith(b"Content-Type")
    )
    assert longest <= (210 if subject.startswith("yy") else 78)


OUTCOME = """
SELECT m.variant, count(*) AS sent, count(*) FILTER (WHERE k.state = 'recovered' AND k.closed_at >= m.sent_at) AS won
FROM '{0}/message.parquet' m JOIN '{0}/recovery_case.parquet' k ON k.id = m.case_id
WHERE m.state = 'sent' GROUP BY m.variant ORDER BY m.variant
"""


def test_outcomes_are_counted_by_variant_from_the_export(
    ledger: Ledger, smtp: tuple[Sink, str], tmp_path: Path
) -> None:
    stripe = many(ledger, 20)
    assert send(ledger, stripe, SmtpTransport(smtp[1]), merchant=of_two_subjects(tmp_path)).sent == 20
    with ledger.write() as connection:
        query = select(message.c.case_id, message.c.variant).where(message.c.state == "sent")
        drawn = connection.execute(query.order_by(message.c.id)).all()
        for number, row in enumerate(drawn):
            before = timedelta(hours=-1 if number == 0 else 1)
            if row.variant == "plain":
                values = {"state": "recovered", "closed_at": NOW + before}
                connection.execute(
                    recovery_case.update().where(recovery_case.c.id == row.case_id).values(**values)
                )
    export(ledger, tmp_path / "export", NOW)
    found = duckdb.sql(OUTCOME.format(tmp_path / "export")).fetchall()
    sent = {name: sum(row.variant == name for row in drawn) for name in ("plain", "reminder")}
    paid_before = int(drawn[0].variant == "plain")
    assert found == [("plain", sent["plain"], sent["plain"] - paid_before), ("reminder", sent["reminder"], 0)]
    assert min(sent.values()) > 0


def test_a_receipt_is_for_what_was_paid_and_needs_no_link(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    bare = Merchant("a <a@b.test>", "A", "", "s@x.test", None, SALT)
    with ledger.write() as connection:
        row: Any = connection.execute(select(message).order_by(message.c.step)).mappings().first()
        connection.execute(
            message.insert().values(
                **{**row, "id": "0" * 32, "step": 99, "kind": "receipt", "template": "receipt"}
            )
        )
        connection.execute(message.update().where(message.c.kind == "dunning").values(state="dropped"))
        connection.execute(recovery_case.update().values(state="recovered"))
    stripe.intents["pi_1"]["status"] = "succeeded"
    assert send(ledger, stripe, SmtpTransport(url), merchant=bare).sent == 1
    assert isinstance(sink.taken[0], EmailMessage)
    assert sink.taken[0]["Date"].datetime == NOW + timedelta(minutes=1)


def test_a_mail_that_is_too_long_is_not_sent_and_stops_no_other(
    ledger: Ledger, smtp: tuple[Sink, str]
) -> None:
    stripe = many(ledger, 3)
    endless = []

    def long_once(letter: Letter) -> Content:
        content = render(letter)
        if not endless:
            endless.append(letter.name)
            return replace(content, text="x" * 300_000)
        return content

    result = send(ledger, stripe, SmtpTransport(smtp[1]), write=long_once)
    assert (result.sent, result.later) == (2, 1)
    (row,) = anomalies.still_open(ledger)
    with ledger.read() as connection:
        query = select(recovery_case.c.customer_id).join(message).where(message.c.id == row["subject"])
        assert [row["kind"], *connection.execute(query).scalars()] == ["mail_failed", *endless]
    assert "bytes" in row["detail"]


@pytest.mark.parametrize(
    "changed",
    [{"mail_from": "nobody"}, {"mail_from": "Ä <ä@acme.test>"}, {"support_email": "a@b.test\nBcc: x@y.z"}],
)
def test_a_sender_nobody_can_answer_is_one_sentence(changed: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TINKO_(MAIL_FROM|SUPPORT_EMAIL): .* no e-mail address"):
        Merchant.from_settings(Settings(state=tmp_path, **changed))
