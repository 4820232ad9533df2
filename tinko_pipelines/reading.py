"""The use cases by which what Stripe shows comes into the lake, for all accounts. Holds no decision of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache, cached_property, reduce
from typing import TYPE_CHECKING, BinaryIO

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.every_account import EveryAccount
from tinko_pipelines.guard import guard

if TYPE_CHECKING:
    from tinko_pipelines.inbox import Emptied
    from tinko_pipelines.lake.backfill import Left, Progress
    from tinko_pipelines.lake.deep import Deep
    from tinko_pipelines.lake.erased import Erased
    from tinko_pipelines.lake.portion import Results
    from tinko_pipelines.lake.standing import Standing
    from tinko_pipelines.ledger.backlog import Backlog
    from tinko_pipelines.ledger.events import Allowed, Told, Waiting
    from tinko_pipelines.ledger.replay import Replayed


@dataclass(frozen=True)
class Reading(EveryAccount):
    """From Stripe, or from the webhook inbox, into the lake."""

    def ingest(
        self,
        objects: Iterable[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Progress | None = None,
    ) -> Results:
        """Read objects created in `[since, until)`, all objects since the configured number of days by default."""
        wanted = None if objects is None else list(objects)
        return _together(self.each(lambda one: one.ingest(wanted, since, until, progress or _quiet)))

    def ingest_changes(self, *, progress: Progress | None = None) -> Results:
        """Bring the lake up to date: what waits in the inbox, and what was created or changed since the last look."""
        found, trouble = self.changes_of_each(progress=progress)
        if trouble is not None:
            raise trouble
        return found

    def changes_of_each(self, *, progress: Progress | None = None) -> tuple[Results, Exception | None]:
        """The same, going on with the accounts that could be read; raises only where there is none."""
        done, trouble = self.tried(lambda one: one.ingest_changes(progress or _quiet))
        if trouble is not None and not done:
            raise trouble
        return _together(done), trouble

    def read_again(self, days: Iterable[date] | None = None, *, progress: Progress | None = None) -> Deep:
        """Hold days of the lake against fresh lists and repair what differs; by default those that are due today."""
        wanted = None if days is None else list(days)
        first, *others = self.each(lambda one: one.read_again(wanted, progress or _quiet))
        for other in others:
            first = first.plus(other)
        return first

    def reparse(self) -> Results:
        """Parse the kept pages once more; nothing is asked of Stripe."""
        from tinko_pipelines.lake.intake import reparse

        return reparse(self.lake)

    def lake_standing(self) -> Standing:
        """How fresh the lake is, what is still to be read, what was set aside."""
        from tinko_pipelines.lake.standing import standing

        return standing(self.lake, self.clock.now())

    def replay_events(self, file: BinaryIO, account: str | None = None) -> Replayed:
        """Put the events of a file into the webhook inbox; those that name no account are that one's, or the main one's.

        Raises InputError for an account that is not configured.
        """
        from tinko_pipelines.ledger.replay import replay

        guard(self.settings)
        whose: dict[str | None, str] = {None: self.account(account).name}
        whose |= {one.account.connected_id: one.name for one in self.accounts if one.account.connected_id}
        livemode, now = self.settings.livemode, self.clock.now()
        return replay(self.ledger, file, whose, self._without_the_erased(), livemode=livemode, now=now)

    def take_events(self, told: Sequence[Told]) -> set[str]:
        """Put events that were told of just now into the inbox; the ids of those that were new. They are safe then."""
        from tinko_pipelines.ledger.events import put

        return put(self.ledger, told, self.clock.now(), self._without_the_erased())

    def _without_the_erased(self) -> Allowed:
        """What may be kept of an event, by who is erased now."""
        gone = cache(self._erased_by_now)

        def allowed(told: Told) -> Told:
            erased, payload = gone(told.account_id), told.payload or ""
            left = erased.page("events", payload.encode(), single=True).decode()
            about = None if erased.names_him(told.object_id) else told.object_id
            return replace(told, payload=left or None, object_id=about)

        return allowed

    def _erased_by_now(self, account_id: str) -> Erased:
        """Who was erased in an account; read anew only when there are more."""
        from tinko_pipelines.ledger import erasure

        count = erasure.count(self.ledger, account_id)
        known = self._gone.get(account_id)
        if known is None or known[0] != count:
            known = self._gone[account_id] = (count, self.erased(account_id))
        return known[1]

    @cached_property
    def _gone(self) -> dict[str, tuple[int, Erased]]:
        return {}

    def empty_inbox(self) -> Emptied:
        """Mark the cases that the events in the inbox touch, and bring into the lake what they tell of."""
        from tinko_pipelines.inbox import mark_all

        marked = mark_all(self.ledger, self.present())
        land = self.sharing(lambda one, seconds: one.land_waiting(seconds), self.settings.drain_seconds)
        done = reduce(lambda one, other: one.plus(other), self.each(land))
        done.marked = marked
        return done

    def attend_inbox(self) -> Emptied:
        """The same, and stay for what comes next, as long as a drain would."""
        from tinko_pipelines.inbox import attend

        return attend(self.empty_inbox, self.events_waiting, self.settings.drain_seconds)

    def inbox(self) -> Waiting:
        """What waits in the inbox, and since when."""
        from tinko_pipelines.ledger.events import waiting

        return waiting(self.ledger)

    def inbox_backlog(self) -> Backlog:
        """How much waits there, cheap enough to be asked for often."""
        from tinko_pipelines.ledger.backlog import backlog

        return backlog(self.ledger)

    def events_waiting(self) -> int:
        """How many events the lake may have by now and does not; cheap enough for a sensor's tick."""
        from tinko_pipelines.ledger.events import count_unlanded

        now, livemode = self.clock.now(), self.livemode_if_known
        return sum(count_unlanded(self.ledger, name, livemode, now) for name in self.settings.account_names)

    @property
    def livemode_if_known(self) -> bool | None:
        """The key's mode, or None without a key."""
        try:
            return self.settings.livemode
        except SettingsError:
            return None


def _together(found: Sequence[Results]) -> Results:
    """What was read of several accounts, by object."""
    from tinko_pipelines.lake.portion import together

    return reduce(together, found)


def _quiet(left: Left) -> None:
    """For who does not want to know how far a reading is."""
