"""Sending what is due: look at Stripe once more, claim, hand over, settle. At most once, whatever happens."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tinko_pipelines.clock import Clock
from tinko_pipelines.errors import MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.control import mailing_allowed
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, outbox, settling, waiting
from tinko_pipelines.outreach.flight import Pace, ahead, in_flight
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.prepare import Ready, Wait, prepare
from tinko_pipelines.outreach.render import Content, Letter, render
from tinko_pipelines.outreach.settling import Answered
from tinko_pipelines.outreach.transport import RefusedError, Transport, TryLaterError

TROUBLE_WAIT = timedelta(hours=1)
MOST_TROUBLE = 3
"""So many messages in a row that could not be prepared are Stripe's trouble or ours, not theirs."""
MOST_REFUSALS = 3
"""So many mails in a row that were refused, and not for their recipients, are refused for us."""
_MOST_BATCHES = 5_000


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
    answered: list[Answered] = field(default_factory=list)
    """Mails that were taken and are not written down yet; each counts as in flight until it is."""
    refusals: list[str] = field(default_factory=list)
    """What was said to the mails refused last, one after the other."""

    def prepare(self, row: dict[str, Any]) -> Ready | str | Wait:
        """The mail as it would go out, after the look at Stripe; a word when there is nothing to send, or when to look again."""
        return prepare(self.ledger, self.gateway, row, self.merchant, self.clock.now(), self.write)

    def claim(self, row: dict[str, Any], ready: Ready) -> str | None:
        """Take it for sending; what it counts as when it is not to be sent now."""
        self.passing("before_claim")
        answered = list(self.answered)
        refusal = outbox.claim(
            self.ledger,
            row,
            owner=self.owner,
            address_hmac=ready.address_hmac,
            header=self.merchant.header_of(row["id"]),
            subject=ready.subject,
            variant=ready.variant,
            body=bodies.seal(ready.mail.content, row["id"], self.merchant.salt),
            now=ready.at,
            link=ready.link,
            answered=answered,
        )
        self._written(answered)
        if refusal is None:
            self.passing("after_claim")
            return None
        if refusal in {"paused", "taken by somebody else", outbox.PUT_OFF}:
            return "later"
        return self.drop(row, refusal)

    def drop(self, row: dict[str, Any], reason: str) -> str:
        """Note why it is not sent at all; where its case has changed since it was listed it is looked at anew."""
        done = settling.drop(self.ledger, row, reason, self.clock.now())
        return "dropped" if done else "later"

    def write_down(self) -> None:
        """Settle what was taken in a transaction of its own, before anything that may take long."""
        answered = list(self.answered)
        settling.settle_answered(self.ledger, answered)
        self._written(answered)

    def _written(self, answered: list[Answered]) -> None:
        for one in answered:
            self.passing("after_settle")
            self.answered.remove(one)
            if self.on_sent is not None and one.row["case_id"] is not None:
                names = (one.row["case_id"], one.row["case_debt_id"], one.row["case_customer_id"])
                self.on_sent(SentMail(*names, one.row["id"], one.at))

    def hand_over(self, row: dict[str, Any], ready: Ready) -> str:
        """Between claim and answer: what certainly did not go out goes back, what may have is in doubt."""
        ledger, owner, now = self.ledger, self.owner, ready.at
        try:
            self.transport.send(ready.mail)
        except TryLaterError as error:
            state = settling.defer(ledger, row, now, owner=owner, detail=str(error))
            return "failed" if state == "failed" else "later"
        except RefusedError as error:
            return self._refused(row, ready, error)
        except MailError:
            unusable = "the mail server cannot be used"
            settling.settle(ledger, row, "scheduled", now, owner=owner, detail=unusable)
            raise
        except Exception as error:
            state = settling.doubt(ledger, row, now, owner=owner, detail=type(error).__name__) or ""
            return "later" if state == "scheduled" else "in_doubt"
        self.passing("after_answer")
        self.refusals.clear()
        self.answered.append(Answered(row, owner, now))
        return "sent"

    def _refused(self, row: dict[str, Any], ready: Ready, error: RefusedError) -> str:
        """Whose fault it is: the recipient's, this mail's, or, when it goes on, ours; then the mail is given back."""
        ledger, owner, said = self.ledger, self.owner, str(error)
        if error.about_recipient:
            at_fault = ready.address_hmac
            settling.refuse(ledger, row, ready.at, owner=owner, detail=said, address_hmac=at_fault)
            return "failed"
        self.refusals.append(said)
        if len(self.refusals) >= MOST_REFUSALS:
            settling.settle(ledger, row, "scheduled", ready.at, owner=owner, detail=said)
            raise MailError(
                f"the mail server refuses one mail after the other ({said}): ask whoever runs it why"
            )
        settling.refuse(ledger, row, ready.at, owner=owner, detail=said, address_hmac=None)
        return "failed"


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
        return SendResult(due=len(waiting.due(ledger, clock.now(), *account)))
    post = _Post(ledger, gateway, transport, clock, merchant, owner, write, on_sent, passing)
    tally: Counter[str] = Counter(in_doubt=settling.doubt_lapsed(ledger, clock.now()))
    if not _allowed(ledger, gateway.account_id):
        return SendResult(in_doubt=tally["in_doubt"], later=len(waiting.due(ledger, clock.now(), *account)))
    deadline = time.monotonic() + max_seconds
    pace = Pace(mails_per_second)
    with _written_down(post), in_flight(workers) as looking, in_flight(workers) as sending:
        trouble = 0
        for row, ready in ahead(looking, post.prepare, _due(ledger, clock, account, deadline)):
            if not ready.done():
                post.write_down()
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
            if isinstance(found, Wait):
                outbox.wait(ledger, row, found.until, found.why)
                tally["later"] += 1
                continue
            if pace.wait_seconds > 0:
                post.write_down()
                pace.wait()
            refused = post.claim(row, found)
            if refused is not None:
                tally[refused] += 1
                continue
            sending.add(post.hand_over, row, found)
            tally.update(sending.finished(room=True))
            if workers == 1:
                post.write_down()
        tally.update(sending.finished(room=False))
    return SendResult(**{name: tally[name] for name in ("sent", "dropped", "failed", "in_doubt", "later")})


@contextmanager
def _written_down(post: _Post) -> Iterator[None]:
    """However it ends, what was taken by then is settled."""
    try:
        yield
    finally:
        post.write_down()


def _allowed(ledger: Ledger, account_id: str) -> bool:
    """Whether mail is not paused; the claim asks again, this spares Stripe the looks."""
    with ledger.read() as connection:
        return mailing_allowed(connection, account_id)


def _due(
    ledger: Ledger, clock: Clock, account: tuple[str, bool], deadline: float
) -> Iterator[dict[str, Any]]:
    """What is due, oldest first, until the time is over; each once."""
    last: dict[str, Any] | None = None
    for _ in range(_MOST_BATCHES):
        rows = waiting.due(ledger, clock.now(), *account, after=last)
        for row in rows:
            if time.monotonic() > deadline:
                return
            yield row
        if not rows:
            return
        last = rows[-1]
