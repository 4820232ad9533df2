"""The use cases, each once: what an asset, a schedule and a command do is one call of a method here.

This module joins the steps of the flow and holds no decision of its own. It reads no environment: whoever
starts the program hands it a `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.clock import Clock, FixedClock, SystemClock
from tinko_pipelines.errors import InputError, SettingsError, StoreError
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from tinko_pipelines.checks import InvariantResult
    from tinko_pipelines.gateway.bulk import BulkReader
    from tinko_pipelines.gateway.port import Gateway
    from tinko_pipelines.lake.ingest import IngestResult, Progress
    from tinko_pipelines.lake.store import Lake
    from tinko_pipelines.ledger.budget import RequestBudget
    from tinko_pipelines.ledger.store import Ledger
    from tinko_pipelines.model.text import TextModel
    from tinko_pipelines.outreach.send import SendResult, SentMail
    from tinko_pipelines.reconcile import Reconciled
    from tinko_pipelines.reports.dbt_runner import BuildResult
    from tinko_pipelines.reports.query import QueryResult
    from tinko_pipelines.retry.drain import DrainResult
    from tinko_pipelines.retry.due import DueSummary
    from tinko_pipelines.retry.enrol import EnrolResult


@dataclass(frozen=True)
class App:
    """Everything built from one `Settings`; parts are made when first needed and shared by the process."""

    settings: Settings

    @cached_property
    def clock(self) -> Clock:
        """Business time: the machine's, the running sandbox's, or that at which a stopped sandbox stands."""
        if self.settings.clock == "sandbox":
            from tinko_pipelines.sandbox.client import SandboxClock

            return SandboxClock(self.settings.stripe_api_base)
        stands_at = self.settings.sandbox_stands_at
        return SystemClock() if stands_at is None else FixedClock(stands_at)

    def _budget(self, *, reading: bool) -> RequestBudget:
        """Our own ceiling on requests to Stripe, shared by all readers and writers through the ledger."""
        from tinko_pipelines.ledger.budget import RequestBudget

        return RequestBudget(
            self.ledger,
            self.settings.stripe_account,
            self.settings.stripe_requests_per_second,
            reading=reading,
        )

    def _guard(self) -> None:
        """Refuse a key that is unsafe, and a state folder that holds what came from elsewhere."""
        self.settings.guard()
        source = "stand-in" if self.settings.is_loopback else "stripe"
        marker = self.settings.state / "source"
        if not marker.exists():
            self.settings.state.mkdir(parents=True, exist_ok=True)
            marker.write_text(source)
        found = marker.read_text().strip()
        if found != source:
            raise SettingsError(
                f"{self.settings.state} holds what came from {'a stand-in for Stripe on this machine' if found == 'stand-in' else 'Stripe'}:"
                " set TINKO_STATE to another folder"
            )

    @cached_property
    def gateway(self) -> Gateway:
        """The writing side of Stripe: single objects, our keys, no retries of its own."""
        from tinko_pipelines.gateway.stripe_gateway import StripeGateway

        self._guard()
        return StripeGateway(
            self.settings.key,
            self.settings.stripe_api_base,
            self.settings.stripe_account,
            rate=self._budget(reading=False),
        )

    @contextmanager
    def reader(self, key: str | None = None) -> Iterator[BulkReader]:
        """The reading side of Stripe: whole pages, with the usual key or another."""
        from tinko_pipelines.gateway.bulk import BulkReader

        self._guard()
        reader = BulkReader(
            key or self.settings.key,
            self.settings.stripe_api_base,
            self.settings.stripe_account,
            rate=self._budget(reading=True),
        )
        try:
            yield reader
        finally:
            reader.close()

    @cached_property
    def lake(self) -> Lake:
        """What Stripe shows, on our side."""
        from tinko_pipelines.lake.store import Lake

        return Lake(self.settings.lake_dir)

    @cached_property
    def ledger(self) -> Ledger:
        """The truth about money and mail, migrated to the schema of this version."""
        from tinko_pipelines.ledger.store import Ledger

        self.settings.state.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(self.settings.ledger)
        ledger.migrate()
        return ledger

    def ingest(
        self,
        objects: Iterable[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Progress | None = None,
    ) -> dict[str, IngestResult]:
        """Read objects created in `[since, until)`, all objects since the configured number of days by default."""
        from tinko_pipelines.lake.changes import mark_first_read
        from tinko_pipelines.lake.ingest import ingest
        from tinko_pipelines.lake.schemas import OBJECTS

        now = self.clock.now()
        whole = now - timedelta(days=self.settings.ingest_since_days)
        start = since or whole
        with self.reader() as reader:
            results = ingest(
                reader,
                self.lake,
                objects=objects or OBJECTS,
                since=start,
                until=until,
                now=now,
                progress=progress,
            )
        if set(results) == set(OBJECTS) and start <= whole and (until is None or until >= now):
            mark_first_read(self.lake, self.settings.stripe_account, self.settings.livemode, now)
        return results

    def ingest_changes(self, *, progress: Progress | None = None) -> dict[str, IngestResult]:
        """Bring the lake up to date: what was created or changed since the last look."""
        from tinko_pipelines.lake.changes import ingest_changes

        with self.reader() as reader:
            return ingest_changes(
                reader,
                self.lake,
                now=self.clock.now(),
                since_days=self.settings.ingest_since_days,
                progress=progress,
            )

    def failed_payments(self) -> pa.Table:
        """Find the debts whose first charge failed and keep them as a derived table."""
        from tinko_pipelines.lake.debts import failed_payments

        table = failed_payments(self.lake, self.clock.now())
        self.lake.write_derived("failed_payments", table)
        return table

    def text_model(self) -> TextModel | None:
        """The model in use for texts no rule knows, or None before the first training."""
        from tinko_pipelines.model.text import load_text_model

        return load_text_model(self.settings.model_dir)

    def train(self) -> dict[str, Any]:
        """Train the text model on the shipped phrases, store it with its card, return the card."""
        from tinko_pipelines.model.text import save_text_model, train_text_model

        return save_text_model(train_text_model(), self.settings.model_dir)

    def verdicts(self) -> pa.Table:
        """Classify the failed payments and keep them with their verdicts as a derived table."""
        from tinko_pipelines.declines.table import classify_payments

        failed = self.lake.read_derived("failed_payments", "tinko plan")
        table = classify_payments(failed, self.clock.now().date(), self.text_model())
        self.lake.write_derived("verdicts", table)
        return table

    def classify_lines(self, lines: Iterable[str]) -> Iterable[str]:
        """JSON lines of declines in, JSON lines of verdicts out."""
        from tinko_pipelines.declines.jsonl import classify_lines

        return classify_lines(lines, self.clock.now().date(), self.text_model())

    def enrol(self) -> EnrolResult:
        """Open, replan and close cases by the verdicts, after noting every card attempt Stripe has seen."""
        from tinko_pipelines.ledger.mirror import mirror_charges
        from tinko_pipelines.retry.enrol import enrol
        from tinko_pipelines.retry.naming import name_charges
        from tinko_pipelines.retry.policy import Policy

        verdicts = self.lake.read_derived("verdicts", "tinko plan")
        charges = self.lake.table("charges")
        mirror_charges(self.ledger, charges)
        name_charges(self.ledger, charges, self.lake.table("invoice_payments"))
        policy = Policy.from_settings(self.settings)
        if self.settings.charges_for_real or self.settings.mails_for_real:
            self._hold_another_ledger()  # Before it fills with cases that were opened, and written about, before.
        return enrol(self.ledger, verdicts, now=self.clock.now(), policy=policy)

    def plan(self) -> EnrolResult:
        """From the lake to planned cases: find failed payments, classify them, enrol them."""
        self.failed_payments()
        self.verdicts()
        return self.enrol()

    def due(self) -> DueSummary:
        """What is due now; cheap enough for a sensor's tick."""
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.retry.due import DueSummary, anything_due

        try:
            livemode = self.settings.livemode
        except SettingsError:
            livemode = None
        if restored.pending(self.ledger, self.settings.stripe_account):
            return DueSummary(0, 0, 0, 0)
        return anything_due(self.ledger, self.clock.now(), self.settings.stripe_account, livemode)

    def drain(
        self, *, owner: str, boundary: Callable[[str], None] | None = None, max_seconds: float | None = None
    ) -> DrainResult:
        """Do all that is due: webhook inbox, unsettled attempts, retries."""
        from tinko_pipelines.ledger import limits
        from tinko_pipelines.retry.breaker import Limits
        from tinko_pipelines.retry.drain import drain

        for_real = self.settings.charges_for_real
        if for_real:
            limits.synchronise(self.ledger, limits.Limits.from_settings(self.settings))
        with self._same_ledger(for_real):
            return drain(
                self.ledger,
                self.gateway,
                self.clock,
                workers=self.settings.drain_workers,
                max_seconds=max_seconds or self.settings.drain_seconds,
                owner=owner,
                dry_run=not for_real,
                boundary=boundary,
                lease_seconds=self.settings.drain_lease_seconds,
                limits=Limits.from_settings(self.settings),
            )

    @contextmanager
    def _same_ledger(self, for_real: bool) -> Iterator[None]:
        """Charge and mail nothing from a ledger that is another, or older, than the one last seen here."""
        from tinko_pipelines.ledger import restored

        account, mark = self.settings.stripe_account, self.settings.ledger_mark
        if not for_real:
            yield
            return
        self._hold_another_ledger()
        if restored.pending(self.ledger, account):
            raise StoreError(
                "the ledger was restored or replaced, so nothing is charged or mailed:"
                " `tinko reconcile` until it agrees, then `tinko resume`"
            )
        try:
            yield
        finally:
            restored.remember(self.ledger, mark, account)

    def _hold_another_ledger(self) -> None:
        from tinko_pipelines.ledger import restored

        account, mark = self.settings.stripe_account, self.settings.ledger_mark
        if (why := restored.strange(self.ledger, mark)) is not None:
            restored.hold(self.ledger, account, why, self.clock.now())
            restored.remember(self.ledger, mark, account)

    def reconcile(self, *, whole: bool | None = None) -> Reconciled:
        """Hold the ledger against Stripe: since the last time, and the whole window once a day or when asked."""
        from tinko_pipelines.reconcile import reconcile

        with self.reader(self.settings.reconciling_key) as reader:
            return reconcile(self.ledger, reader, self.clock.now(), whole=whole)

    def backup_ledger(self, path: Path) -> int:
        """Copy the ledger to a new file, as of one moment; its size in bytes."""
        from tinko_pipelines.ledger.backup import backup

        return backup(self.ledger, path.expanduser().absolute())

    def restore_ledger(self, path: Path, *, replace: bool = False) -> None:
        """Put a backup in place of the ledger; all charging and mailing waits until it is reconciled and resumed."""
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.ledger.backup import restore

        self._guard()
        self.settings.state.mkdir(parents=True, exist_ok=True)
        restore(self.settings.ledger, path.expanduser().absolute(), replace=replace)
        account, now = self.settings.stripe_account, self.clock.now()
        restored.hold(self.ledger, account, f"restored from {path.name}", now)
        restored.remember(self.ledger, self.settings.ledger_mark, account)

    def resume(self, account: str | None, *, reason: str, by: str, anyway: bool = False) -> None:
        """Allow charging and mailing again; refused while ledger and Stripe disagree, unless `anyway`."""
        from tinko_pipelines.ledger import control, restored

        against = restored.objections(self.ledger, account)
        if against and not anyway:
            raise InputError(
                f"{'; '.join(against)}: run `tinko reconcile` and see to `tinko anomalies`, or resume --anyway"
            )
        for name in restored.any_pending(self.ledger):
            if account in (None, name):
                restored.done(self.ledger, name)
        control.resume(self.ledger, account or control.GLOBAL, reason, by, self.clock.now())

    def disputes(self) -> list[dict[str, Any]]:
        """What ledger and Stripe disagree about in money, open still."""
        from tinko_pipelines.ledger.anomalies import still_open
        from tinko_pipelines.reconcile import MONEY

        return [row for row in still_open(self.ledger) if row["kind"] in MONEY]

    def send_mail(self, *, owner: str, max_seconds: float | None = None) -> SendResult:
        """Send every message that is due, each at most once."""
        from tinko_pipelines.ledger import limits
        from tinko_pipelines.outreach.send import Merchant, send_due
        from tinko_pipelines.outreach.transport import transport_for

        if self.settings.mails_for_real:
            limits.synchronise(self.ledger, limits.Limits.from_settings(self.settings))
        with self._same_ledger(self.settings.mails_for_real):
            return send_due(
                self.ledger,
                self.gateway,
                transport_for(self.settings),
                self.clock,
                merchant=Merchant.from_settings(self.settings),
                max_seconds=max_seconds or self.settings.drain_seconds,
                owner=owner,
                dry_run=not self.settings.mails_for_real,
                on_sent=self._deliver_in_sandbox if self.settings.clock == "sandbox" else None,
            )

    def _deliver_in_sandbox(self, mail: SentMail) -> None:
        """Nobody reads the outbox of a sandbox, so its customers are told what was sent to them."""
        from tinko_pipelines.sandbox.client import SandboxClient

        if mail.customer_id:
            SandboxClient(self.settings.stripe_api_base).mail(mail.customer_id, mail.message_id, mail.debt_id)

    def export_ledger(self) -> dict[str, int]:
        """Write every ledger table to Parquet in one read transaction; rows by table."""
        from tinko_pipelines.ledger.export import export

        return export(self.ledger, self.settings.export_dir)

    def build_marts(self) -> BuildResult:
        """Export the ledger, then build and test the marts with dbt."""
        from tinko_pipelines.reports.dbt_runner import build

        self.export_ledger()
        return build(self.settings, self.clock.now())

    def publish_snapshot(self) -> Path:
        """Swap in the marts as the file analysts open."""
        from tinko_pipelines.reports.snapshot import publish

        return publish(self.settings)

    def write_report(self) -> Path:
        """Write the HTML report from the published snapshot."""
        from tinko_pipelines.reports.html import write_report

        return write_report(self.settings, self.clock.now())

    def report(self) -> Path:
        """Marts, snapshot and report, in this order; the old ones stay when a step fails."""
        self.build_marts()
        self.publish_snapshot()
        return self.write_report()

    def summary(self) -> dict[str, Any]:
        """The core numbers of the published snapshot."""
        from tinko_pipelines.reports.summary import summary

        return summary(self.settings)

    def query(self, sql: str, max_rows: int) -> QueryResult:
        """Rows of one SELECT on the published snapshot."""
        from tinko_pipelines.reports.query import query

        return query(self.settings, sql, max_rows)

    def check(self) -> list[InvariantResult]:
        """Every invariant over a fresh export of the ledger and the lake; each with its breaking rows."""
        from tinko_pipelines.checks import run_invariants

        self.export_ledger()
        return run_invariants(
            self.settings.export_dir,
            self.settings.lake_dir,
            self.clock.now(),
            enrol_max_age_days=self.settings.enrol_max_age_days,
            report=self.settings.snapshot_path,
        )
