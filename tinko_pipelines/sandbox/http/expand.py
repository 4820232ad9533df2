"""Expansion: ids replaced by the objects they name, on a copy along the path alone."""

from collections.abc import Iterable
from typing import Any

from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import bad_parameter
from tinko_pipelines.sandbox.store import Object

DEEPEST = 4
KINDS = {
    "ch": "charges",
    "cs": "checkout_sessions",
    "cus": "customers",
    "du": "disputes",
    "in": "invoices",
    "pi": "payment_intents",
    "pm": "payment_methods",
    "price": "prices",
    "prod": "products",
    "re": "refunds",
    "sub": "subscriptions",
    "txn": "balance_transactions",
}
LISTS = {
    ("charge", "refunds"): ("refunds", "charge", "/v1/charges/{}/refunds"),
    ("invoice", "payments"): ("invoice_payments", "invoice", "/v1/invoice_payments?invoice={}"),
    ("customer", "subscriptions"): ("subscriptions", "customer", "/v1/customers/{}/subscriptions"),
}
"""Lists that an object has only when they are asked for."""


def expand(book: Book, answer: Object, paths: Iterable[str]) -> Object:
    """The answer with every path in it expanded."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > DEEPEST + (parts[0] == "data"):
            raise bad_parameter(f"You cannot expand more than {DEEPEST} levels of a property.", "expand")
        answer = _along(book, answer, parts, path)
    return answer


def _along(book: Book, item: Any, parts: list[str], whole: str) -> Any:
    if isinstance(item, list):
        return [_along(book, one, parts, whole) for one in item]
    if not parts or item is None:
        return item
    name, rest = parts[0], parts[1:]
    if not isinstance(item, dict):
        raise _not_expandable(whole)
    if (item.get("object"), name) in LISTS and name not in item:
        value: Any = _list(book, item, name)
    elif name in item:
        value = _object(book, item[name], whole, last=not rest)
    elif name in ("charge", "payment_intent", "payments", "tax_ids", "sources", "line_items"):
        return item
    else:
        raise _not_expandable(whole)
    return {**item, name: _along(book, value, rest, whole)}


def _object(book: Book, value: Any, whole: str, *, last: bool) -> Any:
    if isinstance(value, str):
        kind = KINDS.get(value.split("_")[0])
        found = book.store.get(kind, value) if kind else None
        if found is None:
            raise _not_expandable(whole)
        return found
    if (
        value is None
        or isinstance(value, list)
        or (isinstance(value, dict) and (not last or "object" in value))
    ):
        return value
    raise _not_expandable(whole)


def _list(book: Book, item: Object, name: str) -> Object:
    kind, path, url = LISTS[item["object"], name]
    data = book.store.related(kind, path, item["id"])[::-1][:10]
    return {"object": "list", "data": data, "has_more": False, "url": url.format(item["id"])}


def _not_expandable(path: str) -> Exception:
    return bad_parameter(f"This property cannot be expanded ({path}).", "expand")
