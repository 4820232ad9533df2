"""Ways in which this Stripe protects nobody from a second charge, so that others must prove they do it themselves."""

from tinko_pipelines.sandbox.book import Book

MODES = ("faithful", "many_successes", "no_idempotency")
"""`many_successes`: what was paid may be charged again. `no_idempotency`: idempotency keys mean nothing."""


def mode(book: Book) -> str:
    """Which of them the book has."""
    return MODES[book.store.number("handicap")]


def set_mode(book: Book, wanted: str) -> None:
    """Switch from the next request on."""
    book.store.remember("handicap", MODES.index(wanted))
