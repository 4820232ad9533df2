"""From a message that is due to the mail it is: the look at Stripe, whom it goes to and when, what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tinko_pipelines.errors import MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, cards, hours
from tinko_pipelines.outreach.addressee import UNDER_WAY, Addressee, is_link, look
from tinko_pipelines.outreach.addresses import hash_address
from tinko_pipelines.outreach.hours import Zones
from tinko_pipelines.outreach.links import Drawn
from tinko_pipelines.outreach.merchant import Merchant, compose
from tinko_pipelines.outreach.render import Card, Content, Letter, Owed
from tinko_pipelines.outreach.sequences import RECEIPT, subject_for, template_now
from tinko_pipelines.outreach.transport import Mail
from tinko_pipelines.outreach.waiting import case_of, over_at

AGAIN = timedelta(hours=6)
"""So long a message waits while its debt is being paid, by a bank debit say."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail as it would go out, and what the ledger keeps of it."""

    mail: Mail
    address_hmac: str
    subject: str
    variant: str | None
    at: datetime
    link: dict[str, Any] | None = None
    """The row of the recovery link in it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """When a message that is due is to be looked at anew, and why not before."""

    until: datetime
    why: str


def prepare(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    merchant: Merchant,
    now: datetime,
    write: Callable[[Letter], Content],
) -> Ready | str | Wait:
    """The mail as it would go out, after the look at Stripe.

    A word when there is nothing to send; a moment when it is too early in its customer's day, or he is just paying. One that was claimed before
    goes out as it was written then, to whom it was written then.
    """
    case, card = case_of(row), None
    if row["kind"] == cards.KIND:
        looked = cards.look(gateway, cards.notice_of(row), now)
        found, card = looked if isinstance(looked, tuple) else (looked, None)
    else:
        found = look(gateway, case, row["kind"])
    if found == UNDER_WAY:
        return _later(row, now + AGAIN, UNDER_WAY)
    if isinstance(found, str):
        return found
    country = case["card_country"] if card is None else card.get("country")
    zones = hours.zones_for(found.customer, country, merchant.time_zone)
    if row["kind"] != RECEIPT:
        opens = hours.next_open(now, zones, weekends=merchant.weekends)
        if opens > now:
            return _later(row, opens, "waits for the customer's day")
    hashed = hash_address(found.email, merchant.salt)
    body = bodies.fixed(ledger, row["id"], merchant.salt) if row["fence"] > 0 else None
    if body is not None:
        recipient = str(bodies.parsed(body)["To"])
        if hash_address(recipient, merchant.salt) != hashed:
            return "the address has changed since it was written"
        mail = merchant.envelope(row["id"], recipient, body)
        return Ready(mail, hashed, row["subject"], row["variant"], now)
    drawn = merchant.link_of(case) if row["kind"] == "dunning" else None
    if card is None:
        letter = _letter(row, case, found, merchant, zones, now, drawn)
    else:
        letter = _card_letter(row, found, card, merchant)
    if isinstance(letter, str):
        return letter
    content = write(letter)
    thread, account_id = row["first_header"], row["account_id"]
    body = compose(content, found.email, merchant, row["id"], now, account_id=account_id, thread=thread)
    if len(body) > bodies.MOST_BYTES:
        raise MailError(f"the mail has {len(body)} bytes, {bodies.MOST_BYTES} at most are sent")
    mail = merchant.envelope(row["id"], found.email, body)
    return Ready(mail, hashed, content.subject, content.variant, now, drawn.row if drawn else None)


def _later(row: dict[str, Any], until: datetime, why: str) -> Wait | str:
    return Wait(until, why) if until < over_at(row) else "the plan is over before it may go out"


def _letter(
    row: dict[str, Any],
    case: dict[str, Any],
    to: Addressee,
    merchant: Merchant,
    zones: Zones,
    now: datetime,
    drawn: Drawn | None,
) -> Letter | str:
    """What the mail says; a word when its step's condition holds no more, or it would lead nowhere."""
    receipt = row["kind"] == RECEIPT
    step = None if receipt else merchant.sequences.step(case["plan"], row["step"])
    retries_ahead = to.stripe_retries or case["executed_attempts"] < case["max_attempts"]
    template = template_now(step, row["template"], retries_ahead)
    if template is None:
        return f"step {row['step']} is not for a case with{'' if retries_ahead else 'out'} retries ahead"
    link = "" if receipt else (drawn.url if drawn else to.page or merchant.update_card_url or "")
    if not receipt and not is_link(link):
        return "no link to act on"
    failed_at: datetime = case["first_failed_at"]
    debt = Owed(
        case["amount_minor"],
        case["currency"],
        failed_at.astimezone(zones[0] if len(zones) == 1 else UTC),
        number=to.number,
        open_days=(now - failed_at).days,
    )
    return _written(row, template, subject_for(step, template, row["id"]), to, debt, link, merchant)


def _card_letter(
    row: dict[str, Any], to: Addressee, card: dict[str, Any], merchant: Merchant
) -> Letter | str:
    """What the mail before a card's end says; a word when it would lead nowhere."""
    mail, link = merchant.sequences.before_expiry, merchant.card_link(row["card_notice_id"])
    if not is_link(link):
        return "no link to act on"
    subject = subject_for(mail, row["template"], row["id"])
    shown = Card(str(card.get("brand") or ""), str(card.get("last4") or ""), row["notice_expires_at"])
    return _written(row, row["template"], subject, to, shown, link, merchant)


def _written(
    row: dict[str, Any],
    template: str,
    variant: str,
    to: Addressee,
    about: Owed | Card,
    link: str,
    merchant: Merchant,
) -> Letter:
    return Letter(
        template=template,
        variant=variant,
        locale=to.locale or row["locale"],
        about=about,
        name=to.name,
        link=link,
        merchant=merchant.name,
        support=merchant.support,
        address=merchant.address,
        colour=merchant.colour,
        logo_url=merchant.logo_url,
        pixel_url=merchant.pixel_url(row["id"]),
    )
