"""The debts of one trial, what everybody outside does to them, and how the lake would show them."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from tests.crash.plan import Plan
from tinko_pipelines.declines.table import classify_payments
from tinko_pipelines.lake.debts import FAILED_PAYMENTS
from tinko_pipelines.ledger.mirror import mirror_charges
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.enrol import EnrolResult, enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.sandbox import fixtures
from tinko_pipelines.sandbox.actions import Actions
from tinko_pipelines.sandbox.client import SandboxClient

DAY = 86_400
Object = dict[str, Any]


@dataclass
class Debt:
    """Something owed; `id` is its invoice or intent."""

    id: str
    intent: str
    customer: str
    subscription: str | None
    method: str
    order: str
    behaviour: str


def script(behaviour: str, now: int) -> list[list[Any]]:
    """What the card answers from which moment on."""
    first: list[Any] = [0, "insufficient_funds"]
    return {
        "passes": [first, [now + DAY // 2, None]],
        "passes_late": [first, [now + 4 * DAY, None]],
        "never": [[0, "generic_decline"]],
        "lost": [first, [now + DAY // 2, "lost_card"]],
        "authentication": [first, [now + DAY // 2, "authentication_required"]],
        "action": [first, [now + DAY // 2, "requires_action"]],
        "processing": [first, [now + DAY // 2, "processing"], [now + 20 * DAY, None]],
        "customer_only": [[0, "expired_card"]],
    }[behaviour]


def build(actions: Actions, plan: Plan) -> list[Debt]:
    """Let every debt fail for the first time."""
    book, debts = actions.book, []
    for number, (behaviour, kind) in enumerate(zip(plan.behaviours, plan.kinds, strict=True)):
        order = f"order-{number}"
        if kind == "same_customer" and debts:
            other = debts[-1]
            intent = actions.charge_one_off(other.customer, 1_000 + number, "usd", False, True, order)
            debts.append(Debt(intent, intent, other.customer, None, other.method, order, other.behaviour))
            continue
        who = {
            "amount_minor": 2_000 + 100 * number,
            "codes": script(behaviour, book.now),
            "email": f"payer{number}@example.com",
        }
        if kind == "invoice" or (number % 2 and kind != "intent"):
            made = fixtures.make(actions, "failed_invoice", who)
        else:
            made = fixtures.make(actions, "failed_intent", {**who, "order_id": order})
        debt = Debt(
            made.get("invoice") or made["payment_intent"],
            made["payment_intent"],
            made["customer"],
            made.get("subscription"),
            made["payment_method"],
            order,
            behaviour,
        )
        if kind == "same_card" and debts and "lost" not in (behaviour, debts[-1].behaviour):
            card = book.find("payment_methods", debts[-1].method)["card"]
            method = book.find("payment_methods", debt.method)
            method["card"] = {**method["card"], "fingerprint": card["fingerprint"]}
            book.put("payment_methods", method)
        debts.append(debt)
    return debts


def act(client: SandboxClient, debt: Debt, deed: str) -> None:
    """Somebody does something to a debt; what makes no sense any more changes nothing."""
    if deed in ("pay", "refund", "dispute"):
        client.act("pay", debt.id, card="fresh")
        if deed != "pay":
            client.act(deed, debt.id)
    elif deed == "cancel" and debt.subscription:
        client.act("cancel_subscription", debt.subscription)
    elif deed == "cancel":
        client.act("cancel_intent", debt.id)
    elif deed == "delete":
        client.act("delete_customer", debt.customer)
    elif deed == "new_card":
        client.act("attach_card", debt.customer)
    elif deed == "reorder" and not debt.subscription:
        client.act("order_again", debt.id)


class Book:
    """The sandbox's durable book, read from its file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sandbox" / "book.sqlite"

    def read(self) -> dict[str, dict[str, Object]]:
        """All objects by kind and id, oldest first."""
        found: dict[str, dict[str, Object]] = {}
        connection = sqlite3.connect(self._path)
        try:
            rows = connection.execute(
                "SELECT kind, id, body FROM objects WHERE kind <> 'events' ORDER BY seq"
            )
            for kind, name, body in rows:
                found.setdefault(kind, {})[name] = orjson.loads(body)
        finally:
            connection.close()
        return found


def charges_of(book: dict[str, dict[str, Object]], intent: str) -> list[Object]:
    """Every charge of an intent, oldest first."""
    made = [one for one in book.get("charges", {}).values() if one["payment_intent"] == intent]
    return sorted(made, key=lambda one: one["created"])


def enrol_debts(
    ledger: Ledger, book: dict[str, dict[str, Object]], debts: list[Debt], now: datetime
) -> EnrolResult:
    """Classify and enrol what has failed, as the flow does after the lake was read."""
    rows = [row for debt in debts if (row := _row(book, debt)) is not None]
    table = classify_payments(pa.Table.from_pylist(rows, schema=FAILED_PAYMENTS), now.date())
    mirror_charges(ledger, _charges(book))
    return enrol(ledger, table, now=now, policy=Policy())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _charges(book: dict[str, dict[str, Object]]) -> pa.Table:
    rows = []
    for charge in book.get("charges", {}).values():
        details = charge["payment_method_details"]
        card = details.get("card") or {}
        rows.append(
            {
                "id": charge["id"],
                "account_id": "default",
                "livemode": False,
                "card_fingerprint": card.get("fingerprint"),
                "payment_method_id": charge["payment_method"],
                "payment_method_type": details["type"],
                "card_brand": card.get("brand"),
                "customer_id": charge["customer"],
                "amount_minor": charge["amount"],
                "currency": charge["currency"],
                "created_at": _moment(charge["created"]),
                "status": charge["status"],
                "outcome_network_status": (charge["outcome"] or {}).get("network_status"),
            }
        )
    return pa.Table.from_pylist(rows)


def _row(book: dict[str, dict[str, Object]], debt: Debt) -> Object | None:
    """The failed payment as the lake's own table would have it."""
    charges = charges_of(book, debt.intent)
    failed = [one for one in charges if one["status"] == "failed"]
    if not charges or charges[0]["status"] != "failed":
        return None
    invoice = debt.id != debt.intent
    owed = book["invoices" if invoice else "payment_intents"][debt.id]
    customer, last = book["customers"][debt.customer], failed[-1]
    default = (customer.get("invoice_settings") or {}).get("default_payment_method")
    method = (default if invoice else None) or last["payment_method"]
    held = book["payment_methods"][method]
    paid = next((one for one in charges if one["status"] == "succeeded"), None)
    standing = {"paid": "paid", "succeeded": "paid", "void": "void", "canceled": "canceled"}
    outcome, card = last["outcome"] or {}, held["card"]
    subscription = book["subscriptions"][debt.subscription] if debt.subscription else {}
    return {
        "account_id": "default",
        "livemode": False,
        "debt_kind": "invoice" if invoice else "payment_intent",
        "debt_id": debt.id,
        "invoice_id": debt.id if invoice else None,
        "payment_intent_id": debt.intent,
        "first_charge_id": charges[0]["id"],
        "last_charge_id": last["id"],
        "first_failed_at": _moment(failed[0]["created"]),
        "last_failed_at": _moment(last["created"]),
        "failed_charges": len(failed),
        "customer_id": debt.customer,
        "subscription_id": debt.subscription,
        "amount_minor": charges[0]["amount"],
        "currency": charges[0]["currency"],
        "status": "refunded" if paid and paid["refunded"] else standing.get(owed["status"], "open"),
        "refunded_minor": 0,
        "disputed": any(one["disputed"] for one in charges),
        "payment_method_id": method,
        "payment_method_type": "card",
        "card_brand": card["brand"],
        "card_network": card["brand"],
        "card_country": card["country"],
        "card_fingerprint": card["fingerprint"],
        "card_changed_since_failure": method != last["payment_method"],
        "code": outcome.get("reason") or last["failure_code"],
        "failure_code": last["failure_code"],
        "failure_message": last["failure_message"],
        "outcome_type": outcome.get("type"),
        "outcome_reason": outcome.get("reason"),
        "network_decline_code": outcome.get("network_decline_code"),
        "network_advice_code": outcome.get("network_advice_code"),
        "advice_code": outcome.get("advice_code"),
        "collection_method": "charge_automatically" if invoice else None,
        "off_session_consent": True,
        "customer_deleted": bool(customer.get("deleted")),
        "subscription_status": subscription.get("status"),
        "preferred_locale": "en-US",
    }
