"""The link of a mail that leads to our own page: made when the mail is, and in the ledger before the mail is out."""

from datetime import datetime
from typing import Any

from tinko_pipelines.ledger import links
from tinko_pipelines.ledger.store import Ledger


def recovery_link(
    ledger: Ledger, case: dict[str, Any], now: datetime, *, public_url: str | None, days: int, pages: bool
) -> str | None:
    """A new link for an open case, good for `days`; None where our page could lead nowhere.

    Without `pages`, in a dry run, nothing is made at Stripe, so only invoices, which have a page already, get one.
    """
    kinds = ("invoice", "payment_intent") if pages else ("invoice",)
    if public_url is None or case["debt_kind"] not in kinds or case["state"] != "open":
        return None
    if case["customer_id"] is None:
        return None
    # The claim of the mail, which comes after it, makes it safe too.
    with ledger.write(durable=False) as connection:
        token = links.make(connection, case, now, days)
    return None if token is None else f"{public_url}/r/{token}"
