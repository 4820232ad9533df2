"""A shop that writes mails: a small Stripe with customers, a real SMTP server on loopback, and what is due."""

import email
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from email import policy as email_policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import select

from tests.fake_stripe import NOW, FakeStripe, failed_row, failed_table
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger.schema import message
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.send import SendResult, send_due
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import Transport
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.settings import Settings

SALT = b"salt"
MERCHANT = Merchant(
    "Acme <billing@acme.test>", "Acme", "1 Road", "help@acme.test", "https://pay.test/x", SALT
)


class Stripe(FakeStripe):
    """The fake book with customers that have an address."""

    def __init__(self) -> None:
        super().__init__()
        self.customer: dict[str, Any] = {
            "id": "cus_1",
            "email": "ann@example.org",
            "name": "Ann\r\nBcc: x@y.z",
            "address": {"country": "GB"},
        }

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if "/customers/" in path:
            return Answer(200, body=self.customer)
        return super().get(path, params)


class Sink:
    """Keeps what a server took, and by whom it was greeted; says `refusal` to a recipient when one is set, and `thanks` to a mail."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.bodies: list[bytes] = []
        self.senders: list[str] = []
        self.greetings = 0
        self.refusal = ""
        self.thanks = "250 OK"
        self.on_mail: Callable[[], None] = lambda: None

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings += 1
        return responses

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        parsed = email.message_from_bytes(envelope.content, policy=email_policy.default)
        assert isinstance(parsed, EmailMessage)
        self.taken.append(parsed)
        self.bodies.append(envelope.content)
        self.senders.append(envelope.mail_from or "")
        self.on_mail()
        return self.thanks


@contextmanager
def served(sink: Sink, port: int) -> Iterator[str]:
    """A real SMTP server on loopback with this sink behind it; its URL."""
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"smtp+plain://127.0.0.1:{port}"
    finally:
        controller.stop()


class Crowd(Stripe):
    """Every customer has an address of his own."""

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if "/customers/" in path:
            name = path.rpartition("/")[2]
            home = {"country": "GB"}
            return Answer(
                200, body={"id": name, "email": f"{name}@example.org", "name": name, "address": home}
            )
        return super().get(path, params)


def crowd(count: int) -> Crowd:
    """As many open debts, each somebody else's."""
    stripe = Crowd()
    for number in range(count):
        stripe.add(f"pi_{number}", passes=False)
    return stripe


def many(ledger: Ledger, count: int) -> Crowd:
    """The same, each with a mail that is due."""
    stripe = crowd(count)
    for number in range(count):
        row = failed_row(
            f"pi_{number}",
            move="customer",
            category="card_expired",
            retry_same_card=False,
            customer_id=f"cus_{number}",
        )
        enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))
    return stripe


def enrolled(ledger: Ledger, stripe: Stripe, **changes: Any) -> None:
    stripe.add("pi_1", passes=False)
    row = failed_row("pi_1", move="customer", category="card_expired", retry_same_card=False, **changes)
    enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))


def send(
    ledger: Ledger, stripe: Stripe, transport: Transport, *, after_hours: float = 0, **options: Any
) -> SendResult:
    defaults: dict[str, Any] = {"merchant": MERCHANT, "max_seconds": 20, "owner": "test", "dry_run": False}
    clock = FixedClock(NOW + timedelta(minutes=1, hours=after_hours))
    try:
        return send_due(ledger, stripe, transport, clock, **{**defaults, **options})
    finally:
        if isinstance(transport, SmtpTransport):
            transport.close()


def states(ledger: Ledger) -> list[tuple[str, str | None]]:
    query = select(message.c.state, message.c.drop_reason).order_by(message.c.step)
    with ledger.read() as connection:
        return [(row.state, row.drop_reason) for row in connection.execute(query)]
