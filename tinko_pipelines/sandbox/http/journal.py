"""Who asked what, and how each debt stood at that moment: what tells a charge made in spite of better knowledge.

Kept in memory only, and only for requests that name their caller in a header; deeds asked of the control API always.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinko_pipelines.sandbox.actions import intents_of
from tinko_pipelines.sandbox.billing import ENDED, subscription_of
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.http.service import Request
from tinko_pipelines.sandbox.store import Object

CALLER = "x-sandbox-caller"
MOST_ENTRIES = 200_000
_OVER = ("paid", "void", "uncollectible", "succeeded", "canceled")


class Journal:
    """Entries have `n, at, caller, method, path, key, sent, status, fault`; those about a debt also `debt, over, made`.

    `sent` stands for the parameters: the same for the same ones. `over` says why the debt may no longer be charged, before the request was answered; `made` names the charges
    that the request made. A status of 0 is a broken connection.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._count = 0
        self.entries: deque[dict[str, Any]] = deque(maxlen=MOST_ENTRIES)

    def note(self, request: Request, status: int, fault: str = "") -> None:
        """A request that did nothing at Stripe, or a deed."""
        control = request.path.startswith("/_sandbox/")
        if (control and request.method == "POST") or (not control and CALLER in request.headers):
            self._add(request, status=status, fault=fault, body=request.body if control else "")

    @contextmanager
    def watching(self, request: Request, arrived: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Note the request that is answered meanwhile; the caller adds what came of it.

        One that had to wait was noted when it `arrived`: that is when its caller decided.
        """
        if CALLER not in request.headers:
            yield {}
            return
        entry = arrived or self._add(request, status=0, fault="")
        debt = debt_asked(request)
        before = self._charges(debt)
        entry |= {"debt": debt, "over": over(self._book, debt) if debt else None}
        try:
            yield entry
        finally:
            entry["made"] = [name for name in self._charges(debt) if name not in before]

    def arrival(self, request: Request, seconds: float) -> dict[str, Any] | None:
        """Note a request that waits so long before it is answered."""
        return self._add(request, status=0, fault="", waited=seconds) if CALLER in request.headers else None

    def _add(self, request: Request, **more: Any) -> dict[str, Any]:
        self._count += 1
        entry = {
            "n": self._count,
            "at": self._book.now,
            "caller": request.headers.get(CALLER, ""),
            "method": request.method,
            "path": request.path,
            "key": request.key,
            "sent": zlib.crc32(request.body.encode()),
            **more,
        }
        self.entries.append(entry)
        return entry

    def _charges(self, debt: str) -> list[str]:
        store = self._book.store
        return [
            charge["id"]
            for intent in intents_of(self._book, debt)
            for charge in store.related("charges", "payment_intent", intent)
        ]


def debt_asked(request: Request) -> str:
    """The invoice or intent that is read, confirmed or paid; empty for all else."""
    parts = request.path.strip("/").split("/")
    if len(parts) < 3 or parts[1] not in ("invoices", "payment_intents"):
        return ""
    read = request.method == "GET" and len(parts) == 3
    charged = request.method == "POST" and parts[3:] in (["pay"], ["confirm"])
    return parts[2] if read or charged else ""


def over(book: Book, debt: str) -> str | None:
    """Why nobody who has looked may charge the debt any more; None while it is owed."""
    owed = book.store.get("invoices" if debt.startswith("in_") else "payment_intents", debt)
    if owed is None:
        return None
    if owed["status"] in _OVER:
        return str(owed["status"])
    for intent in intents_of(book, debt):
        for charge in book.store.related("charges", "payment_intent", intent):
            if charge["disputed"] or charge["amount_refunded"]:
                return "disputed" if charge["disputed"] else "refunded"
    subscription = subscription_of(book, owed) if debt.startswith("in_") else None
    if subscription is not None and subscription["status"] in ENDED:
        return "subscription ended"
    customer = book.store.get("customers", str(owed["customer"]))
    if customer is not None and customer.get("deleted"):
        return "customer deleted"
    return _paid_by_another(book, debt, owed)


def _paid_by_another(book: Book, debt: str, owed: Object) -> str | None:
    order = (owed.get("metadata") or {}).get("order_id")
    if debt.startswith("in_") or not order:
        return None
    for charge in book.store.related("charges", "customer", owed["customer"]):
        other = charge["payment_intent"]
        same = (charge["metadata"] or {}).get("order_id") == order
        if (
            same
            and other != debt
            and charge["status"] == "succeeded"
            and charge["created"] >= owed["created"]
        ):
            return f"paid by {other}"
    return None
