"""From a message that is due to the mail it is: the look at Stripe, whom it goes to, what it says. Changes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from tinko_pipelines.errors import GatewayError, MailError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import bodies, outbox
from tinko_pipelines.outreach.addresses import hash_address
from tinko_pipelines.outreach.merchant import Merchant, compose
from tinko_pipelines.outreach.render import Content, Letter, one_line
from tinko_pipelines.outreach.transport import Mail

_SUBSCRIPTION = "parent.subscription_details.subscription"
_ENDED = ("canceled", "incomplete_expired")
_PAID = ("paid", "succeeded")


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail as it would go out, and what the ledger keeps of it."""

    mail: Mail
    address_hmac: str
    subject: str
    variant: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Addressee:
    email: str
    name: str
    link: str


def prepare(
    ledger: Ledger,
    gateway: Gateway,
    row: dict[str, Any],
    merchant: Merchant,
    now: datetime,
    write: Callable[[Letter], Content],
) -> Ready | str:
    """The mail as it would go out, after the look at Stripe; a word when there is nothing to send.

    One that was claimed before goes out as it was written then, to whom it was written then.
    """
    case = outbox.case_of(row)
    found = _look(gateway, case, merchant, row["kind"])
    if isinstance(found, str):
        return found
    hashed = hash_address(found.email, merchant.salt)
    body = bodies.fixed(ledger, row["id"]) if row["fence"] > 0 else None
    if body is not None:
        recipient = str(bodies.parsed(body)["To"])
        if hash_address(recipient, merchant.salt) != hashed:
            return "the address has changed since it was written"
        mail = merchant.envelope(row["id"], recipient, body)
        return Ready(mail, hashed, row["subject"], row["variant"], now)
    content = write(_letter(row, case, found, merchant))
    thread, account_id = row["first_header"], row["account_id"]
    body = compose(content, found.email, merchant, row["id"], now, account_id=account_id, thread=thread)
    if len(body) > bodies.MOST_BYTES:
        raise MailError(f"the mail has {len(body)} bytes, {bodies.MOST_BYTES} at most are sent")
    mail = merchant.envelope(row["id"], found.email, body)
    return Ready(mail, hashed, content.subject, content.variant, now)


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
    own = None if receipt else merchant.link_of(case)
    link = own or debt.get("hosted_invoice_url") or merchant.update_card_url
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
