"""Reading Stripe again before a call, and after one whose outcome is open. GET only, by stored ids only.

A call that is made costs at most three reads, so that with its tag it needs five requests in all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.retry.answers import is_paid, is_reserved
from tinko_pipelines.retry.gate import refused_method
from tinko_pipelines.retry.unreadable import ASKED_TOO_OFTEN, UNREAD

_GONE_SUBSCRIPTION = ("canceled", "incomplete_expired")
_SUBSCRIPTION = "parent.subscription_details.subscription"
_EXPANDED = {
    "invoices": ["customer", "payments", _SUBSCRIPTION],
    "payment_intents": ["customer", "latest_charge"],
}
_MOST_INTENTS = 5
_PAGE = 100
_SLOW_HOURS = 6.0
"""What Stripe does by itself, or a bank takes days for, is not asked for every few minutes."""

LOOK_LASTS = timedelta(seconds=60)
"""What was seen of a debt at Stripe is good for a call no longer than this: its customer may pay meanwhile."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What Stripe shows of a debt now: `paid`, `dead` or `open`, or why it could not be read.

    `charges` are those of the debt's own intents, oldest first; `late` those among them that pages have brought which
    had been given up.
    """

    standing: str
    reason: str
    charges: tuple[Object, ...] = ()
    status: str | None = None
    body: Object = field(default_factory=dict)
    customer: Object | None = None
    subscription: Object | None = None
    intents: tuple[str, ...] = ()
    asked_too_often: bool = False
    late: tuple[Object, ...] = ()

    @property
    def customer_id(self) -> str | None:
        """Whose debt it is."""
        return self.customer["id"] if self.customer else None

    @property
    def final(self) -> bool:
        """Whether Stripe lets no call succeed any more, not even one that is still under way there."""
        return self.standing == "gone" or self.status in ("paid", "succeeded", "canceled", "void")

    @property
    def paid_twice(self) -> tuple[Object, ...]:
        """The charges that have together brought more than the debt, oldest first; none where all is well."""
        total = self.body.get("amount_due", self.body.get("amount"))
        kept = [charge for charge in self.charges if is_paid(charge) and _left(charge) > 0]
        if total is None or len(kept) < 2 or sum(_left(charge) for charge in kept) <= int(total):
            return ()
        return tuple(kept)


def _left(charge: Object) -> int:
    return int(charge.get("amount") or 0) - int(charge.get("amount_refunded") or 0)


def _under_way(charge: Object) -> bool:
    return charge.get("status") == "pending" or (is_reserved(charge) and not charge.get("refunded"))


def look(gateway: Gateway, case: Object) -> View:
    """Read the debt's live object and every charge of its own intents."""
    view = _debt(gateway, case)
    return view if view.standing not in ("paid", "dead", "open") else _with_charges(gateway, view)


def _debt(gateway: Gateway, case: Object) -> View:
    """One GET: the object, and what hangs on it."""
    invoice = case["debt_kind"] == "invoice"
    kind = "invoices" if invoice else "payment_intents"
    answer = gateway.get(f"/v1/{kind}/{case['live_object_id']}", {"expand": _EXPANDED[kind]})
    if not answer.ok:
        return _unread(answer)
    body = answer.body or {}
    status = str(body.get("status"))
    paid = status == ("paid" if invoice else "succeeded")
    dead = status in (("void", "uncollectible", "draft", "deleted") if invoice else ("canceled",))
    details = (body.get("parent") or {}).get("subscription_details") or {}
    newest = body.get("latest_charge")
    return View(
        "paid" if paid else "dead" if dead else "open",
        f"{'invoice' if invoice else 'payment intent'} is {status}",
        (newest,) if isinstance(newest, dict) else (),
        status,
        body,
        _whole(body.get("customer")),
        _whole(details.get("subscription")),
        _intents(case, body) if invoice else (str(case["live_object_id"]),),
    )


def _whole(value: Any) -> Object | None:
    return value if isinstance(value, dict) or value is None else {"id": value}


def _intents(case: Object, invoice: Object) -> tuple[str, ...]:
    """The intents that collect an invoice: the one known since the plan, and those of its payments."""
    names = [case["payment_intent_id"]] if case["payment_intent_id"] else []
    for entry in (invoice.get("payments") or {}).get("data") or ():
        intent = _whole((entry.get("payment") or {}).get("payment_intent"))
        if intent and intent["id"] not in names:
            names.append(intent["id"])
    return tuple(names[:_MOST_INTENTS])


def _with_charges(gateway: Gateway, view: View) -> View:
    found = list(view.charges)
    for intent in view.intents:
        listed = gateway.get("/v1/charges", {"payment_intent": intent, "limit": _PAGE})
        if not listed.ok:
            return _unread(listed)
        found += (listed.body or {}).get("data") or ()
    return replace(view, charges=oldest_first(found))


def oldest_first(newest_first: Sequence[Object]) -> tuple[Object, ...]:
    """Each charge once, by when it was made."""
    each = {charge.get("id"): charge for charge in reversed(newest_first)}
    return tuple(sorted(each.values(), key=lambda charge: int(charge.get("created") or 0)))


def _unread(answer: Answer) -> View:
    if answer.http_status == 404:
        return View("gone", answer.message or "no such object at Stripe")
    if answer.http_status in (401, 403):
        return View("key_refused", answer.message or "Stripe refuses the key")
    why = answer.transport_error or answer.message or f"HTTP {answer.http_status}"
    return View("unread", why, asked_too_often=answer.http_status == 429)


@dataclass(frozen=True, slots=True)
class Clearance:
    """Whether the call may go ahead; if not, which state the case takes (None: it stays open) and why.

    `answer` is what the attempt is given up with: `refused` leaves its turn to the plan's next one, `preflight`
    has it looked at again after `wait_hours`, `unread` ever later. `charges` are the newest ones of the customer and those of the debt,
    for the caps; `paid_twice` are those of a debt whose money has come more than once.
    """

    go: bool
    close_as: str | None = None
    reason: str = ""
    answer: str = "preflight"
    charges: tuple[Object, ...] = ()
    paid_twice: tuple[Object, ...] = ()
    wait_hours: float = 0.25

    @property
    def for_now(self) -> bool:
        """Whether it may well be otherwise at the next look."""
        return self.close_as is None and self.answer in ("preflight", UNREAD, ASKED_TOO_OFTEN)

    @property
    def key_refused(self) -> bool:
        """Whether Stripe refuses the key: then nothing of this account can be read or done."""
        return self.answer == "key_refused"


def preflight(gateway: Gateway, case: Object) -> Clearance:
    """Everything that may have happened behind our back since the lake was read."""
    return _clearance(gateway, case, _debt(gateway, case), True)


def before_page(gateway: Gateway, case: Object) -> tuple[View, Clearance]:
    """The same before the customer himself pays: whose card it was, and who else would retry it, is of no matter."""
    view = _debt(gateway, case)
    return view, _clearance(gateway, case, view, False)


def beside_page(gateway: Gateway, case: Object, page_intent: str | None) -> Clearance:
    """The same while a page is open that has taken the place of the debt's intent, which is cancelled for it."""
    view = _debt(gateway, case)
    if view.status == "canceled":
        names = tuple(name for name in (*view.intents, page_intent) if name)
        view = replace(view, standing="open", intents=names)
    return _clearance(gateway, case, view, False)


def paid_besides(gateway: Gateway, case: Object, intent: Object) -> tuple[Object, ...]:
    """The charges by which a debt was paid more than once: by this intent, which was, and by another; none if all is well.

    Where they cannot be read none are shown: that this one has brought money is known all the same.
    """
    customer = _whole(intent.get("customer"))
    if customer is None:
        return ()
    answer = gateway.get("/v1/charges", {"customer": customer["id"], "limit": _PAGE})
    charges = tuple((answer.body or {}).get("data") or ()) if answer.ok else ()
    others = [one for one in _of_same_order(case, (intent["id"],), intent, charges) if is_paid(one)]
    own = [one for one in charges if one.get("payment_intent") == intent["id"] and is_paid(one)]
    return oldest_first([*own, *others]) if others else ()


def _clearance(gateway: Gateway, case: Object, view: View, by_us: bool) -> Clearance:
    if view.standing in ("paid", "dead"):
        # No call follows, so there is room to see whether it was paid more than once.
        close_as = "paid_elsewhere" if view.standing == "paid" else "cancelled"
        return Clearance(False, close_as, view.reason, paid_twice=_with_charges(gateway, view).paid_twice)
    if view.standing == "gone":
        return Clearance(False, "needs_human", view.reason)
    if view.standing != "open":
        return _not_read(view)
    changed = _changed(case, view, by_us)
    if changed is not None:
        return changed
    newest: tuple[Object, ...] = ()
    more = False
    if view.customer_id:
        listed = gateway.get("/v1/charges", {"customer": view.customer_id, "limit": _PAGE})
        if not listed.ok:
            return _not_read(_unread(listed))
        newest = tuple((listed.body or {}).get("data") or ())
        more = bool((listed.body or {}).get("has_more"))
    view = _with_own(gateway, case, view, newest, more)
    if view.standing != "open":
        return _not_read(view)
    charges = (*view.charges, *newest)
    return (
        _settled_by_charge(case, view)
        or _paid_otherwise(case, view, newest, more)
        or (_without_method(gateway, case, view) if by_us else None)
        or Clearance(True, charges=charges)
    )


def _not_read(view: View) -> Clearance:
    if view.standing == "key_refused":
        return Clearance(False, None, view.reason, "key_refused")
    return Clearance(False, None, view.reason, ASKED_TOO_OFTEN if view.asked_too_often else UNREAD)


def _changed(case: Object, view: View, by_us: bool) -> Clearance | None:
    """What the debt, its subscription and its customer alone tell against a call."""
    body, subscription, customer = view.body, view.subscription or {}, view.customer or {}
    owed = body.get("amount_remaining" if case["debt_kind"] == "invoice" else "amount")
    if "livemode" in body and bool(body["livemode"]) != bool(case["livemode"]):
        return Clearance(False, "needs_human", "the debt is of the other mode, live or test")
    if view.status in ("processing", "requires_capture"):
        return Clearance(False, "needs_human", view.reason)
    if subscription.get("status") in _GONE_SUBSCRIPTION:
        return Clearance(False, "cancelled", "subscription is cancelled")
    if customer.get("deleted"):
        return Clearance(False, "cancelled", "customer is deleted")
    if (owed, body.get("currency", case["currency"])) != (case["amount_minor"], case["currency"]):
        return Clearance(
            False,
            "needs_human",
            f"owed is {owed} {body.get('currency')}, planned {case['amount_minor']} {case['currency']}",
        )
    if not by_us:
        return None
    if case["debt_kind"] == "invoice" and body.get("next_payment_attempt"):
        return Clearance(False, None, "Stripe retries this invoice itself", wait_hours=_SLOW_HOURS)
    if body.get("collection_method") == "send_invoice":
        return Clearance(False, None, "the invoice is sent, not charged", "refused")
    return None


def _with_own(gateway: Gateway, case: Object, view: View, newest: tuple[Object, ...], more: bool) -> View:
    """The view with the debt's own charges, out of the customer's; listed by themselves where those hide some.

    An intent shows its newest charge itself, and while it is open no older one of it can have been paid.
    """
    known = {charge.get("id") for charge in newest}
    complete = not more or case["first_charge_id"] in known or case["debt_kind"] != "invoice"
    if not view.customer_id or not complete:
        return _with_charges(gateway, view)
    own = [charge for charge in newest if charge.get("payment_intent") in view.intents]
    return replace(view, charges=oldest_first([*view.charges, *own]))


def _settled_by_charge(case: Object, view: View) -> Clearance | None:
    for charge in view.charges:
        if charge.get("disputed"):
            return Clearance(False, "cancelled", f"charge {charge.get('id')} is disputed")
        if charge.get("refunded") or charge.get("amount_refunded"):
            return Clearance(False, "cancelled", f"charge {charge.get('id')} was refunded")
        if is_paid(charge) and case["debt_kind"] != "invoice":
            # An invoice may be paid in parts; an intent that is open has no such charge.
            reason = f"charge {charge.get('id')} has succeeded, yet {view.reason}"
            return Clearance(False, "needs_human", reason, paid_twice=view.paid_twice)
        if _under_way(charge):
            return Clearance(False, None, f"charge {charge.get('id')} is under way", wait_hours=_SLOW_HOURS)
    return None


def _paid_otherwise(case: Object, view: View, charges: tuple[Object, ...], more: bool) -> Clearance | None:
    """A second intent that may have paid the same order; only two different order ids prove two orders.

    Whether such a charge was for an invoice cannot be told from it, so a person decides, or the next plan.
    """
    if case["debt_kind"] == "invoice":
        return None
    failed_at = int(case["first_failed_at"].timestamp())
    for charge in _of_same_order(case, view.intents, view.body, charges):
        if is_paid(charge):
            return Clearance(False, "needs_human", f"the customer paid as much by charge {charge.get('id')}")
        if _under_way(charge):
            reason = f"charge {charge.get('id')} of as much is under way"
            return Clearance(False, None, reason, wait_hours=_SLOW_HOURS)
    if more and all(int(charge.get("created") or 0) >= failed_at for charge in charges):
        reason = (
            f"more than {_PAGE} charges of the customer since: whether one paid this order cannot be told"
        )
        return Clearance(False, "needs_human", reason)
    return None


def _of_same_order(
    case: Object, own: Sequence[str], intent: Object, charges: Sequence[Object]
) -> Iterator[Object]:
    """The charges since the failure, by other intents than the debt's own, that may be for the same order."""
    failed_at = int(case["first_failed_at"].timestamp())
    order = (intent.get("metadata") or {}).get("order_id")
    for charge in charges:
        theirs = (charge.get("metadata") or {}).get("order_id")
        same_order = not (order and theirs and theirs != order)
        as_much = (charge.get("amount"), charge.get("currency")) == (case["amount_minor"], case["currency"])
        since = int(charge.get("created") or 0) >= failed_at
        if charge.get("payment_intent") not in own and since and as_much and same_order:
            yield charge


def _without_method(gateway: Gateway, case: Object, view: View) -> Clearance | None:
    """A method taken from the customer since the plan took its consent with it; a default is still his."""
    name, customer = str(case["payment_method_id"] or ""), view.customer or {}
    defaults = (
        (customer.get("invoice_settings") or {}).get("default_payment_method"),
        (view.subscription or {}).get("default_payment_method"),
    )
    if not name.startswith("pm_") or name in defaults or not view.customer_id:
        return None
    answer = gateway.get(f"/v1/payment_methods/{name}")
    if answer.http_status == 404:
        return Clearance(False, None, "the payment method is gone", "refused")
    if not answer.ok:
        return _not_read(_unread(answer))
    method = answer.body or {}
    if (_whole(method.get("customer")) or {}).get("id") != view.customer_id:
        return Clearance(False, None, "the payment method is no longer the customer's", "refused")
    refused = refused_method(method.get("type"), (method.get("card") or {}).get("country"))
    return Clearance(False, None, refused, "refused") if refused else None
