"""When Stripe retries an invoice by itself: the schedule, kept as happenings and `next_payment_attempt`.

What a retry does is in `renewals`; here is only when there will be one.
"""

from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.charging import Try
from tinko_pipelines.sandbox.store import Object

DAY = 86_400
RETRY_DAYS = (3, 5, 7)
"""Days after the first failure; Stripe's own choice differs by payment, and is not published."""
HARD_CODES = frozenset(
    """incorrect_number lost_card pickup_card stolen_card revocation_of_authorization authentication_required
    revocation_of_all_authorizations highest_risk_level transaction_not_allowed""".split()
)
"""After these Stripe does not retry without another payment method."""
HAPPENING = "stripe_retry"
MODES = ("mixed", "on", "off")
"""`mixed`: as the world says for each customer. The others are the account's switch."""


def mode(book: Book) -> str:
    """Whether the account has Smart Retries on."""
    return MODES[book.store.number("smart_retries")]


def set_mode(book: Book, wanted: str) -> None:
    """Switch Smart Retries; switched off, nothing more is attempted."""
    book.store.remember("smart_retries", MODES.index(wanted))
    if wanted == "off":
        for invoice in list(book.store.objects.get("invoices", {}).values()):
            stop(book, invoice)


def plan(book: Book, invoice: Object, done: int, wanted: bool, tried: Try) -> None:
    """After a failure and `done` retries: set the next one, or none. The failure's own event tells of it."""
    hard = tried.decision.decline_code in HARD_CODES
    switch = mode(book)
    allowed = wanted if switch == "mixed" else switch == "on"
    if not allowed or hard or done >= len(RETRY_DAYS):
        book.change("invoices", invoice, next_payment_attempt=None)
        return
    at = max(int(invoice["created"]) + RETRY_DAYS[done] * DAY, book.now + DAY)
    book.change("invoices", invoice, next_payment_attempt=at)
    book.store.push(at, HAPPENING, {"invoice": invoice["id"], "done": done})


def stop(book: Book, invoice: Object) -> None:
    """Stripe tries this invoice no more."""
    if invoice["next_payment_attempt"] is not None:
        book.change("invoices", invoice, "invoice.updated", next_payment_attempt=None)
