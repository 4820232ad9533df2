"""What is nobody's fault but the server's, a pause's or the moment's costs no customer his mail, and no case its links."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import func, select

from tests.fake_stripe import NOW
from tests.ledger.rows import attempt_values
from tests.outreach.post import MERCHANT, Sink, Stripe, enrolled, many, send, served, states
from tests.ports import free_port
from tinko_pipelines.errors import MailError
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger.control import pause, resume
from tinko_pipelines.ledger.schema import attempt, message, recovery_case, recovery_link, suppression
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.addressee import UNDER_WAY
from tinko_pipelines.outreach.links import drawn_link
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import FileTransport
from tinko_pipelines.retry.due import anything_due


class Strict(Sink):
    """Refuses our sender, whoever the mail is for."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        return self.said


class Wary(Sink):
    """Takes no mail at all once it was handed over."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "550 5.7.1 we do not know you"


def counted(ledger: Ledger, table: Any) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.mark.parametrize(
    "said",
    ["550 5.1.0 sender rejected", "550 5.7.60 not allowed to send as this sender", "553 not owned by user"],
)
def test_a_refused_sender_is_no_fault_of_the_customers(ledger: Ledger, said: str) -> None:
    stripe = many(ledger, 5)
    with served(Strict(said), free_port()) as url:
        with pytest.raises(MailError, match="TINKO_MAIL_FROM"):
            send(ledger, stripe, SmtpTransport(url))
        with pytest.raises(MailError, match="TINKO_MAIL_FROM"):
            send(ledger, stripe, SmtpTransport(url), workers=4)
    assert counted(ledger, suppression) == 0
    assert {state for state, _ in states(ledger)} == {"scheduled"}


def test_whom_every_mail_is_refused_stops_soon(ledger: Ledger) -> None:
    stripe = many(ledger, 9)
    with served(Wary(), free_port()) as url, pytest.raises(MailError, match="one mail after the other"):
        send(ledger, stripe, SmtpTransport(url))
    assert counted(ledger, suppression) == 0
    assert sum(state == "failed" for state, _ in states(ledger)) == 2


def linked() -> Merchant:
    given: dict[str, Any] = {"public_url": "https://pay.test", "days": 14, "pages": True}
    return replace(
        MERCHANT,
        update_card_url=None,
        link_of=lambda case: drawn_link(case, NOW, **given),
        public_url="https://pay.test",
    )


def test_a_mail_server_that_is_away_uses_up_no_links(ledger: Ledger) -> None:
    stripe, port = many(ledger, 10), free_port()
    for _ in range(12):
        with pytest.raises(MailError):
            send(
                ledger, stripe, SmtpTransport(f"smtp+plain://127.0.0.1:{port}"), merchant=linked(), workers=4
            )
    assert counted(ledger, recovery_link) <= 10
    sink = Sink()
    with served(sink, port) as url:
        assert send(ledger, stripe, SmtpTransport(url), merchant=linked(), workers=4).sent == 10
    assert counted(ledger, recovery_link) == 10
    assert len(sink.taken) == 10


def test_a_pause_of_mail_asks_nothing_and_uses_up_no_links(ledger: Ledger, tmp_path: Path) -> None:
    stripe = many(ledger, 3)
    pause(ledger, "global", "x", "me", NOW)
    assert send(ledger, Deaf(), FileTransport(tmp_path), merchant=linked()).later == 3
    assert counted(ledger, recovery_link) == 0
    resume(ledger, "global", "x", "me", NOW)
    assert send(ledger, stripe, FileTransport(tmp_path), merchant=linked()).sent == 3
    assert counted(ledger, recovery_link) == 3


class Deaf(Stripe):
    """Is asked nothing."""

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        raise AssertionError(path)


def test_a_link_in_a_mail_is_in_the_ledger_and_no_other_is(ledger: Ledger, tmp_path: Path) -> None:
    """The claim and the link are one transaction: a refused claim leaves none."""
    stripe = many(ledger, 1)
    with ledger.write() as connection:
        connection.execute(recovery_case.update().values(state="cancelled"))
    assert send(ledger, stripe, FileTransport(tmp_path), merchant=linked()).sent == 0
    assert counted(ledger, recovery_link) == 0


class Pressed(Stripe):
    """While Stripe is asked, the customer presses the link of an earlier mail: a page opens, the old intent is cancelled."""

    def __init__(self, ledger: Ledger, *, ends: bool) -> None:
        super().__init__()
        self.ledger, self.ends, self.pressed = ledger, ends, False

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if "/payment_intents/" in path and not self.pressed:
            self.pressed = True
            self.intents["pi_1"]["status"] = "canceled"
            with self.ledger.write() as connection:
                if self.ends:
                    connection.execute(
                        recovery_case.update().values(live_object_id="pi_2", payment_intent_id="pi_2")
                    )
                    self.add("pi_2", passes=False)
                else:
                    case = connection.execute(select(recovery_case.c.id)).scalar_one()
                    money = {"amount_minor": 1000, "currency": "usd", "card_fingerprint": None}
                    page = {"operation": "checkout.session", "id": "page", "customer_id": None, **money}
                    values = attempt_values(case, NOW, **page)
                    connection.execute(attempt.insert().values(**values))
        return super().get(path, params)


@pytest.mark.parametrize("ends", [False, True])
def test_a_page_opened_while_mails_go_out_costs_no_mail(ledger: Ledger, tmp_path: Path, ends: bool) -> None:
    stripe = Pressed(ledger, ends=ends)
    enrolled(ledger, stripe)
    with ledger.write() as connection:
        connection.execute(message.update().where(message.c.step > 1).values(state="dropped"))
    assert send(ledger, stripe, FileTransport(tmp_path)).later == 1
    assert states(ledger)[0] == ("scheduled", None)
    # Nor does it call for a run every minute meanwhile.
    assert anything_due(ledger, NOW + timedelta(hours=1), "default").messages == int(ends)
    assert send(ledger, stripe, FileTransport(tmp_path)).sent == int(ends)


def test_nobody_is_reminded_while_a_bank_is_at_it(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    stripe.intents["pi_1"]["status"] = "processing"
    assert send(ledger, stripe, FileTransport(tmp_path)).later == 1
    with ledger.read() as connection:
        row = connection.execute(select(message).order_by(message.c.step)).mappings().first()
    assert row is not None
    assert (row["state"], row["detail"]) == ("scheduled", UNDER_WAY)
    assert row["due_at"] - NOW > timedelta(hours=5)
    stripe.intents["pi_1"]["status"] = "requires_payment_method"
    assert send(ledger, stripe, FileTransport(tmp_path), after_hours=7).sent == 1


def test_nor_while_it_is_at_an_open_invoice(ledger: Ledger, tmp_path: Path) -> None:
    class Debited(Stripe):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if path != "/v1/invoices/in_1":
                return super().get(path, params)
            assert "payments.data.payment.payment_intent" in (params or {})["expand"]
            part = {"status": "open", "payment": {"payment_intent": {"id": "pi_1", "status": "processing"}}}
            return Answer(200, body={"id": "in_1", "status": "open", "payments": {"data": [part]}})

    stripe = Debited()
    enrolled(ledger, stripe, debt_kind="invoice", debt_id="in_1", invoice_id="in_1")
    assert send(ledger, stripe, FileTransport(tmp_path)).later == 1
    assert states(ledger)[0] == ("scheduled", None)
