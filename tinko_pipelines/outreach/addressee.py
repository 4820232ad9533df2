"""A last look at Stripe before a mail: whether the debt is still owed, and whom to write to. GET only."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.outreach.render import one_line
from tinko_pipelines.outreach.sequences import RECEIPT

Object = dict[str, Any]

_SUBSCRIPTION = "parent.subscription_details.subscription"
_INTENT = "payments.data.payment.payment_intent"
_EXPANDED = {"invoices": [_INTENT, _SUBSCRIPTION], "payment_intents": ["latest_charge"], "charges": []}
_ENDED = ("canceled", "incomplete_expired")
_MOST_INTENTS = 5
UNDER_WAY = "a payment of it is under way"
"""What a look finds while nobody knows yet whether the debt is paid; nobody is reminded meanwhile."""
_MOST_CHARGES = 100


@dataclass(frozen=True, slots=True)
class Addressee:
    """Whom to write to, and what Stripe shows of him and of the debt; `page` is the debt's own at Stripe."""

    email: str
    name: str
    page: str | None
    locale: str | None
    number: str | None
    stripe_retries: bool
    customer: Mapping[str, Any]


def look(gateway: Gateway, case: Object, kind: str) -> Addressee | str:
    """Ask Stripe once more; a word when there is nothing to send. A receipt is about what the ledger shows as paid."""
    debt: Object = {}
    if kind != RECEIPT:
        found = _owed(gateway, case)
        if isinstance(found, str):
            return found
        debt = found
    customer = read(gateway, f"/v1/customers/{case['customer_id']}") if case["customer_id"] else None
    if customer is None or customer.get("deleted"):
        return "the customer is deleted"
    email = customer.get("email") or ""
    if not is_address(email):
        return "no usable address"
    return Addressee(
        email=email,
        name=customer.get("name") or "",
        page=debt.get("hosted_invoice_url"),
        locale=next(iter(customer.get("preferred_locales") or ()), None),
        number=debt.get("number"),
        stripe_retries=bool(debt.get("next_payment_attempt")),
        customer=customer,
    )


def is_link(text: str) -> bool:
    """Whether this is the address of a page and nothing else."""
    return re.fullmatch(r"https?://[!#$%&'()*+,./:;=?@\[\]_~\w-]+", text, re.ASCII) is not None


def is_address(text: str) -> bool:
    """Whether this is one plain address and nothing else."""
    return one_line(text) == text and parseaddr(text)[1] == text and text.count("@") == 1 and text.isascii()


def _owed(gateway: Gateway, case: Object) -> Object | str:
    """The debt while it is owed and nobody contests it; else a word."""
    kind, name, owed = _debt(case)
    debt = read(gateway, f"/v1/{kind}/{name}", {"expand": _EXPANDED[kind]} if _EXPANDED[kind] else None)
    if debt is None:
        return "the debt is gone at Stripe"
    if _is_under_way(debt):
        return UNDER_WAY
    if debt.get("status") not in owed:
        return f"the debt is {debt.get('status')}"
    subscription = ((debt.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    if isinstance(subscription, dict) and subscription.get("status") in _ENDED:
        return "the subscription has ended"
    return _contested(_charges(gateway, kind, debt)) or debt


def _is_under_way(debt: Object) -> bool:
    """Whether the intent, or one of the open invoice's, waits for a bank that takes days."""
    parts = (debt.get("payments") or {}).get("data") or ()
    intents = [(part.get("payment") or {}).get("payment_intent") for part in parts]
    return any(isinstance(one, dict) and one.get("status") == "processing" for one in (debt, *intents))


def _debt(case: Object) -> tuple[str, str, tuple[str, ...]]:
    """Where the debt is read, its id, and in which states it is still owed."""
    if case["invoice_id"]:
        return "invoices", case["invoice_id"], ("open",)
    if case["payment_intent_id"]:
        unpaid = ("requires_payment_method", "requires_confirmation", "requires_action")
        return "payment_intents", case["payment_intent_id"], unpaid
    return "charges", case["debt_id"], ("failed",)


def _charges(gateway: Gateway, kind: str, debt: Object) -> list[Object]:
    """Charges of the debt that money may have moved by; of an invoice that is open, those of its parts that were paid."""
    if kind == "charges":
        return [debt]
    if kind == "payment_intents":
        newest = debt.get("latest_charge")
        return [newest] if isinstance(newest, dict) else []
    found: list[Object] = []
    entries = (debt.get("payments") or {}).get("data") or ()
    paid = [entry for entry in entries if entry.get("status") == "paid"]
    for entry in paid[:_MOST_INTENTS]:
        intent = (entry.get("payment") or {}).get("payment_intent")
        name = intent.get("id") if isinstance(intent, dict) else intent
        if name:
            listed = read(gateway, "/v1/charges", {"payment_intent": name, "limit": _MOST_CHARGES}) or {}
            found += listed.get("data") or ()
    return found


def _contested(charges: Iterable[Object]) -> str | None:
    for charge in charges:
        if charge.get("disputed"):
            return f"charge {charge.get('id')} is disputed"
        if charge.get("refunded") or charge.get("amount_refunded"):
            return f"charge {charge.get('id')} was refunded"
    return None


def read(gateway: Gateway, path: str, params: Mapping[str, Any] | None = None) -> Object | None:
    """An object or a page of them; None where Stripe has none. Raises GatewayError where it cannot be asked."""
    answer = gateway.get(path, params)
    if answer.http_status == 404:
        return None
    if not answer.ok or answer.body is None:
        why = answer.transport_error or f"HTTP {answer.http_status}"
        raise GatewayError(f"Stripe could not be asked about {path} ({why}): its mail waits")
    return dict(answer.body)
