"""The truth about money, counted from the sandbox's own book: what tests and demos hold the product to."""

from collections import defaultdict
from hashlib import blake2b
from typing import Any

import orjson

from tinko_pipelines.sandbox import handicaps
from tinko_pipelines.sandbox.actions import intents_of
from tinko_pipelines.sandbox.book import NAMES, Book
from tinko_pipelines.sandbox.smart_retries import mode
from tinko_pipelines.sandbox.store import Object


def audit(book: Book) -> dict[str, Any]:
    """Counts by object, and every way in which a debt was charged that it should not have been.

    A debt is an invoice, or an intent of none; intents tagged with the same `tinko_case` are one debt, and so
    is a charge without an intent. `orders_paid_twice` also sees two intents of one order (`order_id`).
    """
    charges = sorted(_all(book, "charges"), key=lambda one: book.store.place_of("charges", one["id"]) or ())
    by_debt: dict[str, list[Object]] = defaultdict(list)
    by_order: dict[str, set[str]] = defaultdict(set)
    for charge in charges:
        debt = debt_of(book, charge)
        by_debt[debt].append(charge)
        order = (charge["metadata"] or {}).get("order_id")
        if order and _kept(charge):
            by_order[f"{charge['customer']}:{order}"].add(debt)
    double = sorted(debt for debt, made in by_debt.items() if sum(_kept(one) for one in made) > 1)
    late = sum(max(0, sum(one["status"] == "succeeded" for one in made) - 1) for made in by_debt.values())
    kinds = {kind: len(book.store.objects.get(kind, {})) for kind in NAMES}
    return {
        "now": book.now,
        "seed": book.seed,
        "stripe_retries": mode(book),
        "payments": handicaps.mode(book),
        "objects": kinds,
        "debts": len(by_debt),
        "debts_failed_first": sum(made[0]["status"] == "failed" for made in by_debt.values()),
        "debts_paid": sum(any(one["status"] == "succeeded" for one in made) for made in by_debt.values()),
        "double_charges": len(double),
        "double_charged": double[:100],
        "charged_after_paid": late,
        "orders_paid_twice": sum(len(debts) > 1 for debts in by_order.values()),
        "mails": len(book.store.objects.get("mails", {})),
        "mails_delivered_twice": sum(mail["times"] > 1 for mail in _all(book, "mails")),
        "digest": digest(book),
    }


def digest(book: Book) -> str:
    """A name for the content of the whole book, whatever the order in which it was written."""
    whole = blake2b(digest_size=16)
    for kind in sorted(book.store.objects):
        if kind in ("test_clocks", "portal_sessions"):
            continue
        objects = book.store.objects[kind]
        for name in sorted(objects):
            whole.update(orjson.dumps([kind, name, objects[name]], option=orjson.OPT_SORT_KEYS))
    return whole.hexdigest()


def charges_of(book: Book, debt: str) -> list[Object]:
    """Every charge of an invoice, an intent or a case, oldest first."""
    intents = intents_of(book, debt)
    if debt.startswith("ch_"):
        return [book.find("charges", debt)]
    return [
        charge for intent in intents for charge in book.store.related("charges", "payment_intent", intent)
    ]


def debt_of(book: Book, charge: Object) -> str:
    """What a charge was to collect."""
    intent_id = charge["payment_intent"]
    if intent_id is None:
        return str((charge["metadata"] or {}).get("tinko_case") or charge["id"])
    links = book.store.related("invoice_payments", "payment.payment_intent", intent_id)
    if links:
        return str(links[-1]["invoice"])
    intent = book.store.get("payment_intents", intent_id) or {}
    return str((intent.get("metadata") or {}).get("tinko_case") or intent_id)


def _kept(charge: Object) -> bool:
    return bool(charge["status"] == "succeeded" and not charge["refunded"])


def _all(book: Book, kind: str) -> list[Object]:
    return list(book.store.objects.get(kind, {}).values())
