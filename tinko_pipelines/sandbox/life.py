"""A sandbox brought to life: its folder opened, its world grown, its history lived up to the epoch."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tinko_pipelines.sandbox.actions import Actions
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.ports import EPOCH
from tinko_pipelines.sandbox.store import Store
from tinko_pipelines.sandbox.world import SeededWorld

BOOK_FILE = "book.sqlite"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The book, and what may be done to it from outside of Stripe."""

    book: Book
    actions: Actions

    def close(self) -> None:
        """Let go of the file."""
        self.book.store.close()


def lived_with(directory: Path) -> dict[str, int]:
    """With which `seed` and how many `charges` the sandbox in a folder began; empty if there is none yet."""
    path = directory / BOOK_FILE
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as book:
        found = dict(book.execute("SELECT key, value FROM meta WHERE key IN ('seed', 'charges', 'lived')"))
    return found if found.pop("lived", 0) else {}


def open_sandbox(directory: Path, *, seed: int = 7, charges: int = 5000, history_days: int = 90) -> Sandbox:
    """The sandbox in a folder; a book that is there already goes on, with its own seed and size.

    History is one transaction: a process killed before its end leaves an empty book behind.
    """
    store = Store(directory / BOOK_FILE)
    seed = store.number("seed", seed)
    charges = store.number("charges", charges)
    history_days = store.number("history_days", history_days)
    world = SeededWorld(seed, charges, history_days)
    book = Book(store, world, seed)
    actions = Actions(book)
    if not store.number("lived"):
        store.remember("seed", seed)
        store.remember("charges", charges)
        store.remember("history_days", history_days)
        book.now = world.begins_at
        world.begin(actions)
        actions.advance(EPOCH)
        store.remember("lived", 1)
        store.commit()
    return Sandbox(book, actions)
