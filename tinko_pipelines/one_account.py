"""The use cases that speak to Stripe, for one account of it. Holds no decision of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tinko_pipelines.accounts import Account
from tinko_pipelines.guard import guard
from tinko_pipelines.parts import Parts

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader
    from tinko_pipelines.gateway.port import Gateway
    from tinko_pipelines.inbox import Emptied
    from tinko_pipelines.lake.backfill import Progress
    from tinko_pipelines.lake.deep import Deep
    from tinko_pipelines.lake.portion import Results
    from tinko_pipelines.ledger.budget import Governor
    from tinko_pipelines.outreach.send import SendResult
    from tinko_pipelines.reconcile import Reconciled
    from tinko_pipelines.retry.checkout import Till
    from tinko_pipelines.retry.drain import DrainResult


LANDING_TRIES = 2


@dataclass(frozen=True)
class OneAccount:
    """One account and what is done with it; the ledger, the lake and the clock are everybody's."""

    account: Account
    parts: Parts

    @property
    def name(self) -> str:
        """Our name for it."""
        return self.account.name

    def budget(self, *, reading: bool) -> Governor:
        """Our own ceilings on requests to this account, shared by all readers and writers through the ledger."""
        from tinko_pipelines.ledger.budget import Governor

        settings = self.parts.settings
        reserve_share = settings.charging_reserve if reading else None
        ceilings = settings.request_ceilings
        return Governor(self.parts.ledger, self.name, *ceilings, reserve_share=reserve_share)

    @cached_property
    def gateway(self) -> Gateway:
        """The writing side of Stripe: single objects, our keys, no retries of its own."""
        from tinko_pipelines.gateway.stripe_gateway import StripeGateway

        guard(self.parts.settings)
        return StripeGateway(
            self.account.key,
            self.parts.settings.stripe_api_base,
            self.name,
            connected_account=self.account.connected_id,
            rate=self.budget(reading=False),
        )

    @contextmanager
    def reader(self, key: str | None = None, most_tries: int | None = None) -> Iterator[BulkReader]:
        """The reading side of Stripe: whole pages, with the usual key or another."""
        from tinko_pipelines.gateway.bulk import BulkReader

        guard(self.parts.settings)
        reader = BulkReader(
            key or self.account.key,
            self.parts.settings.stripe_api_base,
            self.name,
            connected_account=self.account.connected_id,
            rate=self.budget(reading=True),
            now=self.parts.present(),
            most_tries=most_tries,
        )
        try:
            yield reader
        finally:
            reader.close()

    def ingest(
        self,
        objects: Iterable[str] | None,
        since: datetime | None,
        until: datetime | None,
        progress: Progress,
    ) -> Results:
        """Read objects created in `[since, until)`, all objects since the configured number of days by default."""
        from tinko_pipelines.lake.changes import ingest_window

        with self.reader() as reader:
            return ingest_window(
                reader,
                self.parts.lake,
                objects,
                since=since,
                until=until,
                now=self.parts.clock.now(),
                since_days=self.parts.settings.ingest_since_days,
                progress=progress,
            )

    def ingest_changes(self, progress: Progress) -> Results:
        """Bring the lake up to date: what waits in the inbox, and what was created or changed since the last look."""
        from tinko_pipelines.lake.changes import ingest_changes
        from tinko_pipelines.lake.portion import together

        landed, trouble = self._landed_or_why()
        since_days = self.parts.settings.ingest_since_days
        with self.reader() as reader:
            now = self.parts.clock.now()
            found = ingest_changes(reader, self.parts.lake, now=now, since_days=since_days, progress=progress)
        if trouble is not None:
            raise trouble
        return together(landed, found)

    def _landed_or_why(self) -> tuple[Results, Exception | None]:
        """What waits in the inbox must not keep the look at changes, which is the net below it, from being taken."""
        try:
            return self.land_waiting(self.parts.settings.drain_seconds).results, None
        except Exception as error:
            return {}, error

    def land_waiting(self, max_seconds: float) -> Emptied:
        """Bring into the lake what the events in the inbox tell of, for so long."""
        from tinko_pipelines.inbox import land_waiting

        livemode = self.parts.settings.livemode
        # What has no answer at once is tried again later anyhow, and others wait.
        with self.reader(most_tries=LANDING_TRIES) as reader:
            return land_waiting(
                self.parts.ledger, self.parts.lake, reader, livemode=livemode, max_seconds=max_seconds
            )

    def read_again(self, days: Iterable[date] | None, progress: Progress) -> Deep:
        """Hold days of the lake against fresh lists and repair what differs; by default those that are due today."""
        from tinko_pipelines.lake.deep import days_to_read, reconcile_days

        now = self.parts.clock.now()
        wanted = days_to_read(now) if days is None else days
        with self.reader() as reader:
            undated_too = days is not None
            return reconcile_days(
                reader, self.parts.lake, wanted, now=now, undated_too=undated_too, progress=progress
            )

    def drain(self, owner: str, max_seconds: float, boundary: Callable[[str], None] | None) -> DrainResult:
        """Do all that is due: webhook inbox, unsettled attempts, retries."""
        from tinko_pipelines.ledger import limits
        from tinko_pipelines.retry.breaker import Limits
        from tinko_pipelines.retry.drain import drain

        settings = self.parts.settings
        for_real = settings.charges_for_real
        if for_real:
            limits.synchronise(self.parts.ledger, limits.Limits.from_settings(settings, self.name))
        with self._same_ledger(for_real):
            return drain(
                self.parts.ledger,
                self.gateway,
                self.parts.clock,
                workers=settings.drain_workers,
                max_seconds=max_seconds,
                owner=owner,
                dry_run=not for_real,
                boundary=boundary,
                lease_seconds=settings.drain_lease_seconds,
                limits=Limits.from_settings(settings),
            )

    def send_mail(self, owner: str, max_seconds: float) -> SendResult:
        """Send every message that is due, each at most once."""
        from tinko_pipelines.ledger import limits
        from tinko_pipelines.outreach.merchant import Merchant
        from tinko_pipelines.outreach.providers import transport_for
        from tinko_pipelines.outreach.send import send_due

        settings = self.parts.settings
        for_real = settings.mails_for_real
        if for_real:
            limits.synchronise(self.parts.ledger, limits.Limits.from_settings(settings, self.name))
        with self._same_ledger(for_real), closing(transport_for(settings)) as transport:
            return send_due(
                self.parts.ledger,
                self.gateway,
                transport,
                self.parts.clock,
                merchant=Merchant.from_settings(settings, self._link_of),
                max_seconds=max_seconds,
                owner=owner,
                dry_run=not for_real,
                on_sent=self.parts.deliver_in_sandbox if settings.clock == "sandbox" else None,
                workers=settings.mail_workers,
                mails_per_second=settings.mails_per_second,
            )

    def till(self, owner: str, boundary: Callable[[str], None] = lambda _name: None) -> Till:
        """What serves a customer's button; it refuses in a ledger that is not the one last seen here."""
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.retry.checkout import Till

        parts, settings = self.parts, self.parts.settings
        if settings.charges_for_real:
            restored.hold_another(
                parts.ledger, settings.ledger_mark, settings.account_names, parts.clock.now()
            )
        return Till(
            parts.ledger,
            self.gateway,
            parts.clock,
            owner,
            back=f"{settings.public_url}/r/done",
            merchant=settings.merchant_name,
            for_real=settings.charges_for_real and settings.public_url is not None,
            methods=settings.page_methods_named,
            boundary=boundary,
            lease_seconds=settings.drain_lease_seconds,
        )

    def _link_of(self, case: dict[str, Any]) -> str | None:
        from tinko_pipelines.outreach.links import recovery_link

        settings = self.parts.settings
        return recovery_link(
            self.parts.ledger,
            case,
            self.parts.clock.now(),
            public_url=settings.public_url,
            days=settings.link_days,
            pages=settings.charges_for_real,
        )

    def _same_ledger(self, for_real: bool) -> AbstractContextManager[None]:
        from tinko_pipelines.ledger import restored

        if not for_real:
            return nullcontext()
        mark, names = self.parts.settings.ledger_mark, self.parts.settings.account_names
        return restored.same_ledger(self.parts.ledger, mark, self.name, names, self.parts.clock)

    def reconcile(self, *, whole: bool | None = None) -> Reconciled:
        """Hold the ledger against Stripe: since the last time, and the whole window once a day or when asked."""
        from tinko_pipelines.reconcile import reconcile

        with self.reader(self.account.reconciling_key) as reader:
            return reconcile(self.parts.ledger, reader, self.parts.clock.now(), whole=whole)
