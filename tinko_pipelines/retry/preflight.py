"""Reading Stripe again before a call, and after one whose outcome is open. GET only, by stored ids only."""

from dataclasses import dataclass
from typing import Any

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer

_GONE_SUBSCRIPTION = ("canceled", "incomplete_expired")


@dataclass(frozen=True, slots=True)
class View:
    """What Stripe shows of a debt now: `paid`, `dead` or `open`, or why it could not be read."""

    standing: str
    reason: str
    charges: tuple[dict[str, Any], ...] = ()
    status: str | None = None
    amount_due_minor: int | None = None
    stripe_retries: bool = False
    customer_id: str | None = None
    order_id: str | None = None


def look(gateway: Gateway, case: dict[str, Any]) -> View:
    """Read the debt's live object and its charges: at most three GETs."""
    invoice = case["debt_kind"] == "invoice"
    path = "invoices" if invoice else "payment_intents"
    answer = gateway.get(f"/v1/{path}/{case['live_object_id']}")
    if not answer.ok:
        return _unread(answer)
    body = answer.body or {}
    status = str(body.get("status"))
    intent = case["payment_intent_id"] if invoice else case["live_object_id"]
    if invoice and not intent:
        intent = _intent_of(gateway, case["live_object_id"])
    charges: tuple[dict[str, Any], ...] = ()
    if intent:
        listed = gateway.get("/v1/charges", {"payment_intent": intent, "limit": 100})
        if not listed.ok:
            return _unread(listed)
        data = (listed.body or {}).get("data") or []
        charges = tuple(sorted(data, key=lambda charge: int(charge.get("created") or 0)))
    paid = status == ("paid" if invoice else "succeeded")
    dead = status in (("void", "uncollectible", "draft", "deleted") if invoice else ("canceled",))
    standing = "paid" if paid else "dead" if dead else "open"
    customer = body.get("customer")
    return View(
        standing,
        f"{'invoice' if invoice else 'payment intent'} is {status}",
        charges,
        status,
        body.get("amount_remaining") if invoice else body.get("amount"),
        bool(invoice and body.get("next_payment_attempt")),
        customer.get("id") if isinstance(customer, dict) else customer,
        (body.get("metadata") or {}).get("order_id"),
    )


def _intent_of(gateway: Gateway, invoice_id: str) -> str | None:
    answer = gateway.get("/v1/invoice_payments", {"invoice": invoice_id, "limit": 10})
    for entry in ((answer.body or {}).get("data") or []) if answer.ok else []:
        intent = (entry.get("payment") or {}).get("payment_intent")
        if intent:
            return str(intent.get("id")) if isinstance(intent, dict) else str(intent)
    return None


def _unread(answer: Answer) -> View:
    if answer.http_status == 404:
        return View("gone", answer.message or "no such object at Stripe")
    if answer.http_status in (401, 403):
        return View("key_refused", answer.message or "Stripe refuses the key")
    why = answer.transport_error or answer.message or f"HTTP {answer.http_status}"
    return View("unread", why)


@dataclass(frozen=True, slots=True)
class Clearance:
    """Whether the call may go ahead; if not, which state the case takes (None: try again later) and why.

    `charges` are the newest ones of the customer and those of the debt, for the caps.
    """

    go: bool
    close_as: str | None = None
    reason: str = ""
    key_refused: bool = False
    charges: tuple[dict[str, Any], ...] = ()


def preflight(gateway: Gateway, case: dict[str, Any]) -> Clearance:
    """Everything that may have happened behind our back since the lake was read."""
    view = look(gateway, case)
    if view.standing == "paid":
        return Clearance(False, "paid_elsewhere", view.reason)
    if view.standing in ("dead", "gone"):
        return Clearance(False, "cancelled" if view.standing == "dead" else "needs_human", view.reason)
    if view.standing != "open":
        return Clearance(False, None, view.reason, view.standing == "key_refused")
    for charge in view.charges:
        if charge.get("disputed"):
            return Clearance(False, "cancelled", f"charge {charge.get('id')} is disputed")
        if charge.get("refunded") or charge.get("amount_refunded"):
            return Clearance(False, "cancelled", f"charge {charge.get('id')} was refunded")
        if charge.get("status") == "pending":
            return Clearance(False, None, f"charge {charge.get('id')} is under way")
    if view.status in ("processing", "requires_capture"):
        return Clearance(False, "needs_human", view.reason)
    if view.amount_due_minor != case["amount_minor"]:
        return Clearance(
            False, "needs_human", f"owed is {view.amount_due_minor}, planned {case['amount_minor']}"
        )
    if view.stripe_retries:
        return Clearance(False, None, "Stripe retries this invoice itself")
    return _who_pays(gateway, case, view)


def _who_pays(gateway: Gateway, case: dict[str, Any], view: View) -> Clearance:
    customer_id = view.customer_id or case["customer_id"]
    if case["subscription_id"]:
        answer = gateway.get(f"/v1/subscriptions/{case['subscription_id']}")
        gone = (answer.body or {}).get("status") in _GONE_SUBSCRIPTION
        what = "subscription is cancelled"
    else:
        if not customer_id:
            return Clearance(True, charges=view.charges)
        answer = gateway.get(f"/v1/customers/{customer_id}")
        gone = bool((answer.body or {}).get("deleted"))
        what = "customer is deleted"
    if answer.http_status == 404 or (answer.ok and gone):
        return Clearance(False, "cancelled", what)
    if not answer.ok:
        unread = _unread(answer)
        return Clearance(False, None, unread.reason, unread.standing == "key_refused")
    if not customer_id:
        return Clearance(True, charges=view.charges)
    # Another debt of this customer may have been tried on the same card since the lake was read.
    listed = gateway.get("/v1/charges", {"customer": customer_id, "limit": 100})
    if not listed.ok:
        unread = _unread(listed)
        return Clearance(False, None, unread.reason, unread.standing == "key_refused")
    charges = (*view.charges, *((listed.body or {}).get("data") or ()))
    return _paid_otherwise(case, view, charges) or Clearance(True, charges=charges)


def _paid_otherwise(
    case: dict[str, Any], view: View, charges: tuple[dict[str, Any], ...]
) -> Clearance | None:
    """A second intent that may have paid the same order; only two different order ids prove two orders.

    Whether such a charge was for an invoice cannot be told from it, so a person decides, or the next plan.
    """
    if case["debt_kind"] == "invoice":
        return None
    for charge in charges:
        theirs = (charge.get("metadata") or {}).get("order_id")
        if (
            charge.get("payment_intent") == case["live_object_id"]
            or int(charge.get("created") or 0) < int(case["first_failed_at"].timestamp())
            or (charge.get("amount"), charge.get("currency")) != (case["amount_minor"], case["currency"])
            or (view.order_id and theirs and theirs != view.order_id)
        ):
            continue
        if charge.get("status") == "succeeded":
            return Clearance(False, "needs_human", f"the customer paid as much by charge {charge.get('id')}")
        if charge.get("status") == "pending":
            return Clearance(False, None, f"charge {charge.get('id')} of as much is under way")
    return None
