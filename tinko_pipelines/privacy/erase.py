"""Forgetting a person everywhere, in an order that a death at any moment does not harm: begun again, it is finished.

First it is written down who may not come in again. Then his cases are closed, so that nobody charges or writes to him.
Then comes what is kept, and last what is made of it. In the end everything is looked through once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tinko_pipelines.errors import InputError, StoreError, TinkoError
from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.lake.files import sync
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger import erasure
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.privacy.books import Books
from tinko_pipelines.privacy.export import mails_of, refuse_unknown
from tinko_pipelines.privacy.made import made_of_him
from tinko_pipelines.privacy.person import Person
from tinko_pipelines.privacy.shelves import Shelves
from tinko_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Erasing:
    """What is changed, or would be: rows, files and cases that still tell of the person, by place."""

    customer: str
    done: bool
    lake: dict[str, int]
    ledger: dict[str, int]
    mails: int
    closes: list[str]
    against: list[str]

    @property
    def empty(self) -> bool:
        """Whether nothing tells of him any more."""
        return not (self.lake or self.ledger or self.mails or self.closes)


@dataclass(frozen=True, slots=True)
class Eraser:
    """All places that may hold something of a person."""

    settings: Settings
    ledger: Ledger
    lake: Lake
    erased: Callable[[str], Erased]
    now: datetime

    def told(self, person: Person) -> Erasing:
        """What would be done; changes nothing. Raises InputError for a customer nothing is kept of."""
        known = erasure.known(self.ledger, person.account_id)
        if hashed(person.customer_id) not in known:
            refuse_unknown(self.ledger, person)
        return self._look(person, Erased({*known, *map(hashed, person.ids)}), done=False)

    def erase(self, person: Person, emptied: Callable[[], None], make_anew: Callable[[], None]) -> Erasing:
        """Do it; `emptied` is called when the ledger is, `make_anew` makes what is made of lake and ledger.

        Raises StoreError where something is left.
        """
        planned = self.told(person)
        if planned.against:
            raise InputError(f"{person.customer_id} cannot be erased now: {'; '.join(planned.against)}")
        erasure.remember(
            self.ledger, person.account_id, map(hashed, {person.customer_id, *person.ids}), self.now
        )
        erased = self.erased(person.account_id)
        books, shelves = self._places(person, erased)
        books.empty(self.now)
        emptied()
        self._drop_mails(books)
        shelves.wait_for_readers()
        shelves.empty()
        try:
            make_anew()
        except TinkoError as error:
            raise StoreError(
                f"{person.customer_id} is not erased yet: marts and report could not be made anew, and the published"
                f" ones still tell of the person ({error}); run `tinko report` until it succeeds, then this again"
            ) from error
        erasure.overwrite_freed(self.ledger)
        left = self._look(person, self.erased(person.account_id), done=True)
        if not left.empty:
            raise StoreError(
                f"{person.customer_id} is not erased yet, something was written meanwhile"
                f" ({left.lake or ''} {left.ledger or ''}): run the same command again"
            )
        return Erasing(
            person.customer_id, True, planned.lake, planned.ledger, planned.mails, planned.closes, []
        )

    def _places(self, person: Person, erased: Erased) -> tuple[Books, Shelves]:
        account = person.account_id
        return Books(self.ledger, account, erased), Shelves(self.lake, account, erased)

    def _look(self, person: Person, erased: Erased, *, done: bool) -> Erasing:
        books, shelves = self._places(person, erased)
        in_lake = shelves.left() | made_of_him(self.settings, self.lake, erased)
        mails = mails_of(self.settings.outbox_dir, (row["id"] for row in books.rows()["message"]))
        return Erasing(
            person.customer_id, done, in_lake, books.left(), len(mails), books.living(), books.busy()
        )

    def _drop_mails(self, books: Books) -> None:
        found = mails_of(self.settings.outbox_dir, (row["id"] for row in books.rows()["message"]))
        for path in found:
            path.unlink(missing_ok=True)
        if found:
            sync(self.settings.outbox_dir)
