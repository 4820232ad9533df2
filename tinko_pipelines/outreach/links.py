"""The link of a mail that leads to our own page: drawn when the mail is written, in the ledger with the claim of the mail."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tinko_pipelines.ledger import links
from tinko_pipelines.ledger.store import Ledger


@dataclass(frozen=True, slots=True)
class Drawn:
    """A link nobody knows yet: its address, and the row that makes it one."""

    url: str
    row: dict[str, Any]


def drawn_link(
    case: dict[str, Any], now: datetime, *, public_url: str | None, days: int, pages: bool
) -> Drawn | None:
    """A new link for an open case, good for `days`; None where our page could lead nowhere.

    Without `pages`, in a dry run, nothing is made at Stripe, so only invoices, which have a page already, get one.
    """
    kinds = ("invoice", "payment_intent") if pages else ("invoice",)
    if public_url is None or case["debt_kind"] not in kinds or case["state"] != "open":
        return None
    if case["customer_id"] is None:
        return None
    token, row = links.draw(case, now, days)
    return Drawn(f"{public_url}/r/{token}", row)


def recovery_link(
    ledger: Ledger, case: dict[str, Any], now: datetime, *, public_url: str | None, days: int, pages: bool
) -> str | None:
    """The same, written down at once; None also for a case that has very many."""
    if drawn_link(case, now, public_url=public_url, days=days, pages=pages) is None:
        return None
    with ledger.write() as connection:
        token = links.make(connection, case, now, days)
    return None if token is None else f"{public_url}/r/{token}"
