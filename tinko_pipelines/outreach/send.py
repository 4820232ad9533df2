"""Sending what is due: look at Stripe once more, claim, hand over, settle. At most once, whatever happens."""

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import GatewayError, MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import outbox
from tinko_pipelines.outreach.render import Content, Letter, one_line, render
from tinko_pipelines.outreach.transport import RefusedError, Transport, TryLaterError, read_or_make_salt
from tinko_pipelines.settings import Settings

LATER = timedelta(hours=4)
TROUBLE_WAIT = timedelta(hours=1)
MOST_TROUBLE = 3
"""So many messages in a row that could not be prepared are Stripe's trouble or ours, not theirs."""
_MOST_BATCHES = 500
_SUBSCRIPTION = "parent.subscription_details.subscription"
_ENDED = ("canceled", "incomplete_expired")


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who writes: the brand of a mail, where answers go, and the salt its addresses are hashed with."""

    sender: str
    name: str
    address: str
    support: str
    update_card_url: str | None
    salt: bytes
    link_of: Callable[[dict[str, Any]], str | None] = lambda _case: None
    """Makes a recovery link for a case, written down before it is told; None where there is to be none."""

    @classmethod
    def from_settings(
        cls, settings: Settings, link_of: Callable[[dict[str, Any]], str | None] = lambda _case: None
    ) -> "Merchant":
        """The merchant the settings describe."""
        return cls(
            settings.mail_from,
            settings.merchant_name,
            settings.merchant_address,
            settings.support_email,
            settings.update_card_url,
            read_or_make_salt(settings.state / "mail.salt"),
            link_of,
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


@dataclass(frozen=True, slots=True)
class _Addressee:
    email: str
    name: str
    link: str


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
                ready = _ready(gateway, row, merchant, now)
            except Exception as error:
                outbox.put_off(ledger, row, error, now, now + TROUBLE_WAIT)
                trouble, ready = trouble + 1, None
                if trouble >= MOST_TROUBLE:
                    raise
            else:
                trouble = 0
            state = (
                "later" if ready is None else _send_one(ledger, transport, now, row, ready, owner, on_sent)
            )
            tally[state] += 1
    return SendResult(**{name: tally[name] for name in ("sent", "dropped", "failed", "in_doubt", "later")})


@dataclass(frozen=True, slots=True)
class _Ready:
    mail: EmailMessage
    subject: str
    address_hmac: str


def _ready(gateway: Gateway, row: dict[str, Any], merchant: Merchant, now: datetime) -> _Ready | str:
    """The mail as it would go out; a word when there is nothing to send."""
    case = outbox.case_of(row)
    found = _look(gateway, case, merchant)
    if isinstance(found, str):
        return found
    content = render(_letter(row, case, found, merchant))
    mail = compose(content, found.email, merchant, row["id"], now)
    return _Ready(mail, content.subject, hash_address(found.email, merchant.salt))


def _send_one(
    ledger: Ledger,
    transport: Transport,
    now: datetime,
    row: dict[str, Any],
    ready: _Ready | str,
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


def _look(gateway: Gateway, case: dict[str, Any], merchant: Merchant) -> _Addressee | str:
    """Ask Stripe whether the debt is still owed and whom to write to; a word when there is nothing to send."""
    kind, name, owed = _debt(case)
    debt = _read(gateway, f"/v1/{kind}/{name}", {"expand": [_SUBSCRIPTION]} if kind == "invoices" else None)
    if debt is None:
        return "the debt is gone at Stripe"
    if debt.get("status") not in owed:
        return f"the debt is {debt.get('status')}"
    subscription = ((debt.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    if isinstance(subscription, dict) and subscription.get("status") in _ENDED:
        return "the subscription has ended"
    customer = _read(gateway, f"/v1/customers/{case['customer_id']}") if case["customer_id"] else None
    if customer is None or customer.get("deleted"):
        return "the customer is deleted"
    email = customer.get("email") or ""
    if not _is_address(email):
        return "no usable address"
    link = merchant.link_of(case) or debt.get("hosted_invoice_url") or merchant.update_card_url
    return _Addressee(email, customer.get("name") or "", link) if link else "no link to act on"


def _debt(case: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Where the debt is read, its id, and in which states it is still owed."""
    if case["invoice_id"]:
        return "invoices", case["invoice_id"], ("open",)
    if case["payment_intent_id"]:
        unpaid = ("requires_payment_method", "requires_confirmation", "requires_action")
        return "payment_intents", case["payment_intent_id"], unpaid
    return "charges", case["debt_id"], ("failed",)


def _read(gateway: Gateway, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    answer = gateway.get(path, params)
    if answer.http_status == 404:
        return None
    if not answer.ok or answer.body is None:
        why = answer.transport_error or f"HTTP {answer.http_status}"
        raise GatewayError(f"Stripe could not be asked about {path} ({why}): its mail waits")
    return dict(answer.body)


def _is_address(text: str) -> bool:
    return one_line(text) == text and parseaddr(text)[1] == text and text.count("@") == 1 and text.isascii()


def _letter(row: dict[str, Any], case: dict[str, Any], to: _Addressee, merchant: Merchant) -> Letter:
    return Letter(
        template=row["template"],
        locale=row["locale"],
        amount_minor=case["amount_minor"],
        currency=case["currency"],
        failed_at=case["first_failed_at"],
        name=to.name,
        link=to.link,
        merchant=merchant.name,
        support=merchant.support,
        address=merchant.address,
    )


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
