"""Sending what is due: look at Stripe once more, claim, hand over, settle. At most once, whatever happens."""

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import hours, outbox, sequences
from tinko_pipelines.outreach.addressee import Addressee, look
from tinko_pipelines.outreach.hours import Zones
from tinko_pipelines.outreach.render import Content, Letter, render
from tinko_pipelines.outreach.sequences import RECEIPT, Sequences, subject_for, template_now
from tinko_pipelines.outreach.transport import RefusedError, Transport, TryLaterError, read_or_make_salt
from tinko_pipelines.settings import Settings

LATER = timedelta(hours=4)
TROUBLE_WAIT = timedelta(hours=1)
MOST_TROUBLE = 3
"""So many messages in a row that could not be prepared are Stripe's trouble or ours, not theirs."""
_MOST_BATCHES = 500


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who writes, what and when: brand, sequences, hours, where answers go, and the salt addresses are hashed with."""

    sender: str
    name: str
    address: str
    support: str
    update_card_url: str | None
    salt: bytes
    colour: str = "#1f5fd0"
    logo_url: str | None = None
    time_zone: str = "UTC"
    weekends: bool = True
    sequences: Sequences = field(default_factory=sequences.default)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Merchant":
        """The merchant the settings describe."""
        return cls(
            settings.mail_from,
            settings.merchant_name,
            settings.merchant_address,
            settings.support_email,
            settings.update_card_url,
            read_or_make_salt(settings.state / "mail.salt"),
            settings.brand_colour,
            settings.brand_logo_url,
            settings.time_zone,
            settings.mail_weekends,
            sequences.load(settings.sequences),
        )


@dataclass(frozen=True, slots=True)
class SentMail:
    """One mail that was handed over; ids only, no address."""

    case_id: str
    debt_id: str
    customer_id: str
    message_id: str
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class SendResult:
    """What one mail run did; `due` is what a dry run would have looked at."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    in_doubt: int = 0
    later: int = 0
    due: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def send_due(
    ledger: Ledger,
    gateway: Gateway,
    transport: Transport,
    clock: Clock,
    *,
    merchant: Merchant,
    max_seconds: float,
    owner: str,
    dry_run: bool,
    on_sent: Callable[[SentMail], None] | None = None,
) -> SendResult:
    """Send every due message, each at most once; raises MailError when the server cannot be used.

    A message that cannot be prepared waits an hour and stops no other; after some in a row the last error is raised.
    """
    account = (gateway.account_id, gateway.livemode)
    if dry_run:
        return SendResult(due=len(outbox.due(ledger, clock.now(), *account)))
    tally: Counter[str] = Counter(in_doubt=outbox.doubt_lapsed(ledger, clock.now()))
    deadline = time.monotonic() + max_seconds
    seen: set[str] = set()
    trouble = 0
    for _ in range(_MOST_BATCHES):
        rows = [row for row in outbox.due(ledger, clock.now(), *account) if row["id"] not in seen]
        if not rows or time.monotonic() > deadline:
            break
        for row in rows:
            if time.monotonic() > deadline:
                break
            seen.add(row["id"])
            now = clock.now()
            try:
                ready = prepare(gateway, row, merchant, now)
            except Exception as error:
                outbox.put_off(ledger, row, error, now, now + TROUBLE_WAIT)
                trouble, ready = trouble + 1, None
                if trouble >= MOST_TROUBLE:
                    raise
            else:
                trouble = 0
            if isinstance(ready, datetime):
                outbox.wait_for_hours(ledger, row, ready)
                ready = None
            state = (
                "later" if ready is None else _send_one(ledger, transport, now, row, ready, owner, on_sent)
            )
            tally[state] += 1
    return SendResult(**{name: tally[name] for name in ("sent", "dropped", "failed", "in_doubt", "later")})


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail as it would go out, and what the ledger keeps of it."""

    mail: EmailMessage
    subject: str
    address_hmac: str


def prepare(
    gateway: Gateway, row: dict[str, Any], merchant: Merchant, now: datetime
) -> Ready | str | datetime:
    """The mail as it would go out; a word when there is nothing to send, a moment when it is too early in the day."""
    case = outbox.case_of(row)
    found = look(gateway, case, row["kind"], merchant.update_card_url)
    if isinstance(found, str):
        return found
    zones = hours.zones_for(found.customer, case["card_country"], merchant.time_zone)
    if row["kind"] != RECEIPT:
        opens = hours.next_open(now, zones, weekends=merchant.weekends)
        if opens > now:
            return opens if opens < case["plan_ends_at"] else "the plan is over before the hours of mail"
    letter = _letter(row, case, found, merchant, zones, now)
    if isinstance(letter, str):
        return letter
    content = render(letter)
    mail = compose(content, found.email, merchant, row["id"], now)
    return Ready(mail, content.subject, hash_address(found.email, merchant.salt))


def _letter(
    row: dict[str, Any], case: dict[str, Any], to: Addressee, merchant: Merchant, zones: Zones, now: datetime
) -> Letter | str:
    """What the mail says; a word when its step's condition holds no more."""
    step = None if row["kind"] == RECEIPT else merchant.sequences.step(case["plan"], row["step"])
    retries_ahead = to.stripe_retries or case["executed_attempts"] < case["max_attempts"]
    template = template_now(step, row["template"], retries_ahead)
    if template is None:
        return f"step {row['step']} is not for a case with{'' if retries_ahead else 'out'} retries ahead"
    return Letter(
        template=template,
        variant=subject_for(step, template, row["id"]),
        locale=to.locale or row["locale"],
        amount_minor=case["amount_minor"],
        currency=case["currency"],
        failed_at=case["first_failed_at"].astimezone(zones[0] if len(zones) == 1 else UTC),
        open_days=(now - case["first_failed_at"]).days,
        name=to.name,
        link=to.link,
        number=to.number,
        merchant=merchant.name,
        support=merchant.support,
        address=merchant.address,
        colour=merchant.colour,
        logo_url=merchant.logo_url,
    )


def _send_one(
    ledger: Ledger,
    transport: Transport,
    now: datetime,
    row: dict[str, Any],
    ready: Ready | str,
    owner: str,
    on_sent: Callable[[SentMail], None] | None,
) -> str:
    if isinstance(ready, str):
        outbox.settle(ledger, row, "dropped", now, owner=None, drop_reason=ready)
        return "dropped"
    refusal = outbox.claim(
        ledger,
        row,
        owner=owner,
        address_hmac=ready.address_hmac,
        header=ready.mail["Message-ID"],
        subject=ready.subject,
        now=now,
    )
    if refusal in {"paused", "taken by somebody else", outbox.PUT_OFF}:
        return "later"
    if refusal is not None:
        outbox.settle(ledger, row, "dropped", now, owner=None, drop_reason=refusal)
        return "dropped"
    return _hand_over(ledger, transport, ready.mail, row, outbox.case_of(row), now, owner, on_sent)


def _hand_over(
    ledger: Ledger,
    transport: Transport,
    mail: EmailMessage,
    row: dict[str, Any],
    case: dict[str, Any],
    now: datetime,
    owner: str,
    on_sent: Callable[[SentMail], None] | None,
) -> str:
    """Between claim and answer: what certainly did not go out goes back, what may have is in doubt."""
    try:
        transport.send(mail)
    except TryLaterError as error:
        outbox.settle(ledger, row, "scheduled", now, owner=owner, due_at=now + LATER, detail=str(error))
        return "later"
    except RefusedError as error:
        outbox.settle(ledger, row, "failed", now, owner=owner, detail=str(error))
        return "failed"
    except MailError:
        outbox.settle(ledger, row, "scheduled", now, owner=owner, detail="the mail server cannot be used")
        raise
    except Exception as error:
        state = outbox.doubt(ledger, row, now, owner=owner, detail=type(error).__name__)
        return "later" if state == "scheduled" else "in_doubt"
    outbox.settle(ledger, row, "sent", now, owner=owner, sent_at=now)
    if on_sent is not None:
        on_sent(SentMail(case["id"], case["debt_id"], case["customer_id"], row["id"], now))
    return "sent"


def hash_address(email: str, salt: bytes) -> str:
    """The name an address has in the ledger: a keyed hash of its lower-case form."""
    return hmac.new(salt, email.strip().lower().encode(), hashlib.sha256).hexdigest()


def compose(content: Content, to: str, merchant: Merchant, message_id: str, now: datetime) -> EmailMessage:
    """The MIME message: text and HTML, with an id that depends on the message alone."""
    domain = parseaddr(merchant.sender)[1].rpartition("@")[2] or "localhost"
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = merchant.sender, to, content.subject
    mail["Reply-To"] = merchant.support
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["List-Unsubscribe"] = f"<mailto:{merchant.support}?subject=stop%20reminders>"
    mail.set_content(content.text)
    mail.add_alternative(content.html, subtype="html")
    return mail
