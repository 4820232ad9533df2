"""From a message that is due to the mail it is: the look at Stripe, whom it goes to and when, what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tinko_pipelines.errors import MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, hours, outbox
from tinko_pipelines.outreach.addressee import Addressee, is_link, look
from tinko_pipelines.outreach.addresses import hash_address
from tinko_pipelines.outreach.hours import Zones
from tinko_pipelines.outreach.merchant import Merchant, compose
from tinko_pipelines.outreach.render import Content, Letter
from tinko_pipelines.outreach.sequences import RECEIPT, subject_for, template_now
from tinko_pipelines.outreach.transport import Mail


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail as it would go out, and what the ledger keeps of it."""

    mail: Mail
    address_hmac: str
    subject: str
    variant: str | None
    at: datetime


def prepare(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    merchant: Merchant,
    now: datetime,
    write: Callable[[Letter], Content],
) -> Ready | str | datetime:
    """The mail as it would go out, after the look at Stripe.

    A word when there is nothing to send, a moment when it is too early in its customer's day. One that was claimed before
    goes out as it was written then, to whom it was written then.
    """
    case = outbox.case_of(row)
    found = look(gateway, case, row["kind"])
    if isinstance(found, str):
        return found
    zones = hours.zones_for(found.customer, case["card_country"], merchant.time_zone)
    if row["kind"] != RECEIPT:
        opens = hours.next_open(now, zones, weekends=merchant.weekends)
        if opens > now:
            return opens if opens < case["plan_ends_at"] else "the plan is over before the hours of mail"
    hashed = hash_address(found.email, merchant.salt)
    body = bodies.fixed(ledger, row["id"], merchant.salt) if row["fence"] > 0 else None
    if body is not None:
        recipient = str(bodies.parsed(body)["To"])
        if hash_address(recipient, merchant.salt) != hashed:
            return "the address has changed since it was written"
        mail = merchant.envelope(row["id"], recipient, body)
        return Ready(mail, hashed, row["subject"], row["variant"], now)
    letter = _letter(row, case, found, merchant, zones, now)
    if isinstance(letter, str):
        return letter
    content = write(letter)
    thread, account_id = row["first_header"], row["account_id"]
    body = compose(content, found.email, merchant, row["id"], now, account_id=account_id, thread=thread)
    if len(body) > bodies.MOST_BYTES:
        raise MailError(f"the mail has {len(body)} bytes, {bodies.MOST_BYTES} at most are sent")
    mail = merchant.envelope(row["id"], found.email, body)
    return Ready(mail, hashed, content.subject, content.variant, now)


def _letter(
    row: dict[str, Any], case: dict[str, Any], to: Addressee, merchant: Merchant, zones: Zones, now: datetime
) -> Letter | str:
    """What the mail says; a word when its step's condition holds no more, or it would lead nowhere."""
    receipt = row["kind"] == RECEIPT
    step = None if receipt else merchant.sequences.step(case["plan"], row["step"])
    retries_ahead = to.stripe_retries or case["executed_attempts"] < case["max_attempts"]
    template = template_now(step, row["template"], retries_ahead)
    if template is None:
        return f"step {row['step']} is not for a case with{'' if retries_ahead else 'out'} retries ahead"
    link = "" if receipt else merchant.link_of(case) or to.page or merchant.update_card_url or ""
    if not receipt and not is_link(link):
        return "no link to act on"
    return Letter(
        template=template,
        variant=subject_for(step, template, row["id"]),
        locale=to.locale or row["locale"],
        amount_minor=case["amount_minor"],
        currency=case["currency"],
        failed_at=case["first_failed_at"].astimezone(zones[0] if len(zones) == 1 else UTC),
        open_days=(now - case["first_failed_at"]).days,
        name=to.name,
        link=link,
        number=to.number,
        merchant=merchant.name,
        support=merchant.support,
        address=merchant.address,
        colour=merchant.colour,
        logo_url=merchant.logo_url,
    )
