"""Sending what is due: look at Stripe once more, claim, hand over, settle. At most once, whatever happens."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import GatewayError, MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, outbox
from tinko_pipelines.outreach.addresses import hash_address
from tinko_pipelines.outreach.flight import Pace, ahead, in_flight
from tinko_pipelines.outreach.merchant import Merchant, compose
from tinko_pipelines.outreach.render import Content, Letter, one_line, render
from tinko_pipelines.outreach.transport import Mail, RefusedError, Transport, TryLaterError

TROUBLE_WAIT = timedelta(hours=1)
MOST_TROUBLE = 3
"""So many messages in a row that could not be prepared are Stripe's trouble or ours, not theirs."""
_MOST_BATCHES = 5_000
_SUBSCRIPTION = "parent.subscription_details.subscription"
_ENDED = ("canceled", "incomplete_expired")
_PAID = ("paid", "succeeded")


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


@dataclass(frozen=True, slots=True)
class _Ready:
    """A mail as it would go out."""

    mail: Mail
    address_hmac: str
    subject: str
    variant: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Post:
    """What all mails of one run share."""

    ledger: Ledger
    gateway: Gateway
    transport: Transport
    clock: Clock
    merchant: Merchant
    owner: str
    write: Callable[[Letter], Content]
    on_sent: Callable[[SentMail], None] | None
    passing: Callable[[str], None]

    def prepare(self, row: dict[str, Any]) -> _Ready | str:
        """The mail as it would go out, after the look at Stripe; a word when there is nothing to send."""
        now, case = self.clock.now(), outbox.case_of(row)
        found = _look(self.gateway, case, self.merchant, row["kind"])
        if isinstance(found, str):
            return found
        hashed = hash_address(found.email, self.merchant.salt)
        if row["fence"] > 0:
            return self._again(row, hashed, now)
        content = self.write(_letter(row, case, found, self.merchant))
        body = compose(
            content,
            found.email,
            self.merchant,
            row["id"],
            now,
            account_id=row["account_id"],
            thread=row["first_header"],
        )
        mail = self.merchant.envelope(row["id"], found.email, body)
        return _Ready(mail, hashed, content.subject, content.variant, now)

    def _again(self, row: dict[str, Any], hashed: str, now: datetime) -> _Ready | str:
        """A mail that was claimed before goes out as it was then, to whom it was written then."""
        body = bodies.fixed(self.ledger, row["id"])
        if body is None:
            return "what it said is not kept"
        recipient = str(bodies.parsed(body)["To"])
        if hash_address(recipient, self.merchant.salt) != hashed:
            return "the address has changed since it was written"
        mail = self.merchant.envelope(row["id"], recipient, body)
        return _Ready(mail, hashed, row["subject"], row["variant"], now)

    def claim(self, row: dict[str, Any], ready: _Ready) -> str | None:
        """Take it for sending; what it counts as when it is not to be sent now."""
        self.passing("before_claim")
        refusal = outbox.claim(
            self.ledger,
            row,
            owner=self.owner,
            address_hmac=ready.address_hmac,
            header=self.merchant.header_of(row["id"]),
            subject=ready.subject,
            variant=ready.variant,
            body=ready.mail.content,
            now=ready.at,
        )
        if refusal is None:
            self.passing("after_claim")
            return None
        if refusal in {"paused", "taken by somebody else", outbox.PUT_OFF}:
            return "later"
        return self.drop(row, refusal)

    def drop(self, row: dict[str, Any], reason: str) -> str:
        """Note why it is not sent at all."""
        outbox.settle(self.ledger, row, "dropped", self.clock.now(), owner=None, drop_reason=reason)
        return "dropped"

    def hand_over(self, row: dict[str, Any], ready: _Ready) -> str:
        """Between claim and answer: what certainly did not go out goes back, what may have is in doubt."""
        ledger, owner, now = self.ledger, self.owner, ready.at
        try:
            self.transport.send(ready.mail)
        except TryLaterError as error:
            state = outbox.defer(ledger, row, now, owner=owner, detail=str(error))
            return "failed" if state == "failed" else "later"
        except RefusedError as error:
            at_fault = ready.address_hmac if error.about_recipient else None
            outbox.refuse(ledger, row, now, owner=owner, detail=str(error), address_hmac=at_fault)
            return "failed"
        except MailError:
            unusable = "the mail server cannot be used"
            outbox.settle(ledger, row, "scheduled", now, owner=owner, detail=unusable)
            raise
        except Exception as error:
            state = outbox.doubt(ledger, row, now, owner=owner, detail=type(error).__name__) or ""
            return "later" if state == "scheduled" else "in_doubt"
        self.passing("after_answer")
        outbox.settle(ledger, row, "sent", now, owner=owner, sent_at=now)
        self.passing("after_settle")
        if self.on_sent is not None:
            names = (row["case_id"], row["case_debt_id"], row["case_customer_id"], row["id"])
            self.on_sent(SentMail(*names, now))
        return "sent"


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
    workers: int = 1,
    mails_per_second: float | None = None,
    write: Callable[[Letter], Content] = render,
    passing: Callable[[str], None] = lambda _name: None,
) -> SendResult:
    """Send every due message, each at most once; raises MailError when the server cannot be used.

    They are claimed one after the other, oldest first; `workers` of them are looked at, and as many handed over, at once. A
    message that cannot be prepared waits an hour and stops no other; after some in a row the last error is raised.
    """
    account = (gateway.account_id, gateway.livemode)
    if dry_run:
        return SendResult(due=len(outbox.due(ledger, clock.now(), *account)))
    post = _Post(ledger, gateway, transport, clock, merchant, owner, write, on_sent, passing)
    tally: Counter[str] = Counter(in_doubt=outbox.doubt_lapsed(ledger, clock.now()))
    deadline = time.monotonic() + max_seconds
    pace = Pace(mails_per_second)
    with in_flight(workers) as looking, in_flight(workers) as sending:
        trouble = 0
        for row, ready in ahead(looking, post.prepare, _due(ledger, clock, account, deadline)):
            try:
                found = ready.result()
            except Exception as error:
                now = clock.now()
                outbox.put_off(ledger, row, error, now, now + TROUBLE_WAIT)
                tally["later"] += 1
                trouble += 1
                if trouble >= MOST_TROUBLE:
                    raise
                continue
            trouble = 0
            if isinstance(found, str):
                tally[post.drop(row, found)] += 1
                continue
            pace.wait()
            refused = post.claim(row, found)
            if refused is not None:
                tally[refused] += 1
                continue
            sending.add(post.hand_over, row, found)
            tally.update(sending.finished(room=True))
        tally.update(sending.finished(room=False))
    return SendResult(**{name: tally[name] for name in ("sent", "dropped", "failed", "in_doubt", "later")})


def _due(
    ledger: Ledger, clock: Clock, account: tuple[str, bool], deadline: float
) -> Iterator[dict[str, Any]]:
    """What is due, oldest first, until the time is over; each once."""
    last: dict[str, Any] | None = None
    for _ in range(_MOST_BATCHES):
        rows = outbox.due(ledger, clock.now(), *account, after=last)
        for row in rows:
            if time.monotonic() > deadline:
                return
            yield row
        if not rows:
            return
        last = rows[-1]


def _look(gateway: Gateway, case: dict[str, Any], merchant: Merchant, mail_kind: str) -> _Addressee | str:
    """Ask Stripe whether the debt is still owed, or paid for a receipt, and whom to write to; a word when nothing is to be sent."""
    kind, name, owed = _debt(case)
    receipt = mail_kind == "receipt"
    debt = _read(gateway, f"/v1/{kind}/{name}", {"expand": [_SUBSCRIPTION]} if kind == "invoices" else None)
    if debt is None:
        return "the debt is gone at Stripe"
    if debt.get("status") not in (_PAID if receipt else owed):
        return f"the debt is {debt.get('status')}"
    subscription = ((debt.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    if not receipt and isinstance(subscription, dict) and subscription.get("status") in _ENDED:
        return "the subscription has ended"
    customer = _read(gateway, f"/v1/customers/{case['customer_id']}") if case["customer_id"] else None
    if customer is None or customer.get("deleted"):
        return "the customer is deleted"
    email = customer.get("email") or ""
    if not _is_address(email):
        return "no usable address"
    link = debt.get("hosted_invoice_url") or merchant.update_card_url
    if not link and not receipt:
        return "no link to act on"
    return _Addressee(email, customer.get("name") or "", link or "")


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
        message_id=row["id"],
    )
