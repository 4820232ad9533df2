"""The use cases, each once: what an asset, a schedule and a command do is one call of a method here.

This module joins the steps of the flow and holds no decision of its own. It reads no environment: whoever
starts the program hands it a `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.guard import guard
from tinko_pipelines.parts import Parts

if TYPE_CHECKING:
    import pyarrow as pa

    from tinko_pipelines.checks import InvariantResult
    from tinko_pipelines.lake.backfill import Progress
    from tinko_pipelines.lake.deep import Deep
    from tinko_pipelines.lake.portion import Results
    from tinko_pipelines.lake.standing import Standing
    from tinko_pipelines.ledger.control import Pause
    from tinko_pipelines.outreach.send import SendResult
    from tinko_pipelines.privacy.erase import Erasing
    from tinko_pipelines.reconcile import Reconciled
    from tinko_pipelines.reports.dbt_runner import BuildResult
    from tinko_pipelines.reports.query import QueryResult
    from tinko_pipelines.retry.drain import DrainResult
    from tinko_pipelines.retry.due import DueSummary
    from tinko_pipelines.retry.enrol import EnrolResult


@dataclass(frozen=True)
class App(Parts):
    """Every use case over the same parts."""

    def ingest(
        self,
        objects: Iterable[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Progress | None = None,
    ) -> Results:
        """Read objects created in `[since, until)`, all objects since the configured number of days by default."""
        from tinko_pipelines.lake.backfill import quiet
        from tinko_pipelines.lake.changes import ingest_window

        with self.reader() as reader:
            return ingest_window(
                reader,
                self.lake,
                objects,
                since=since,
                until=until,
                now=self.clock.now(),
                since_days=self.settings.ingest_since_days,
                progress=progress or quiet,
            )

    def ingest_changes(self, *, progress: Progress | None = None) -> Results:
        """Bring the lake up to date: what was created or changed since the last look."""
        from tinko_pipelines.lake.backfill import quiet
        from tinko_pipelines.lake.changes import ingest_changes

        with self.reader() as reader:
            return ingest_changes(
                reader,
                self.lake,
                now=self.clock.now(),
                since_days=self.settings.ingest_since_days,
                progress=progress or quiet,
            )

    def read_again(self, days: Iterable[date] | None = None, *, progress: Progress | None = None) -> Deep:
        """Hold days of the lake against fresh lists and repair what differs; by default those that are due today."""
        from tinko_pipelines.lake.backfill import quiet
        from tinko_pipelines.lake.deep import days_to_read, reconcile_days

        now = self.clock.now()
        with self.reader() as reader:
            wanted = days_to_read(now) if days is None else days
            undated_too = days is not None
            return reconcile_days(
                reader, self.lake, wanted, now=now, undated_too=undated_too, progress=progress or quiet
            )

    def reparse(self) -> Results:
        """Parse the kept pages once more; nothing is asked of Stripe."""
        from tinko_pipelines.lake.intake import reparse

        return reparse(self.lake)

    def lake_standing(self) -> Standing:
        """How fresh the lake is, what is still to be read, what was set aside."""
        from tinko_pipelines.lake.standing import standing

        return standing(self.lake, self.clock.now())

    def failed_payments(self) -> pa.Table:
        """Find the debts whose first charge failed and keep them as a derived table."""
        from tinko_pipelines.lake.debts import failed_payments

        self.lake.refuse_if_empty()
        table = failed_payments(self.lake, self.clock.now())
        self.lake.write_derived("failed_payments", table)
        return table

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
        from tinko_pipelines.lake.traces import attempts_named
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.ledger.mirror import mirror_charges
        from tinko_pipelines.retry.enrol import enrol
        from tinko_pipelines.retry.naming import name_charges
        from tinko_pipelines.retry.policy import Policy

        verdicts = self.lake.read_derived("verdicts", "tinko plan")
        charges = self.lake.table("charges")
        mirror_charges(self.ledger, charges)
        name_charges(self.ledger, charges, self.lake.table("invoice_payments"))
        now, account = self.clock.now(), self.settings.stripe_account
        # Before it fills with cases that were opened, and written about, before.
        restored.hold_another(self.ledger, self.settings.ledger_mark, account, now)
        restored.hold_successor(self.ledger, lambda: attempts_named(self.lake, account), account, now)
        return enrol(self.ledger, verdicts, now=now, policy=Policy.from_settings(self.settings))

    def plan(self) -> EnrolResult:
        """From the lake to planned cases: find failed payments, classify them, enrol them."""
        self.failed_payments()
        self.verdicts()
        return self.enrol()

    def due(self) -> DueSummary:
        """What is due now; cheap enough for a sensor's tick."""
        from tinko_pipelines.retry.due import anything_due

        try:
            livemode = self.settings.livemode
        except SettingsError:
            livemode = None
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

    def _same_ledger(self, for_real: bool) -> AbstractContextManager[None]:
        from tinko_pipelines.ledger import restored

        if not for_real:
            return nullcontext()
        mark, account = self.settings.ledger_mark, self.settings.stripe_account
        return restored.same_ledger(self.ledger, mark, account, self.clock)

    def reconcile(self, *, whole: bool | None = None) -> Reconciled:
        """Hold the ledger against Stripe: since the last time, and the whole window once a day or when asked."""
        from tinko_pipelines.reconcile import reconcile

        with self.reader(self.settings.reconciling_key) as reader:
            return reconcile(self.ledger, reader, self.clock.now(), whole=whole)

    def backup_ledger(self, path: Path) -> int:
        """Copy the ledger to a new file, as of one moment; its size in bytes."""
        from tinko_pipelines.ledger.backup import backup

        return backup(self.ledger, path.expanduser().absolute())

    def restore_ledger(self, path: Path, *, replace: bool = False) -> int:
        """Put a backup in place of the ledger; all charging and mailing waits until it is reconciled and resumed.

        The number of mails that were dropped since they may have been sent.
        """
        from tinko_pipelines.ledger.backup import restore

        guard(self.settings)
        self.settings.state.mkdir(parents=True, exist_ok=True)
        restore(self.settings.ledger, path.expanduser().absolute(), replace=replace)
        return self._take_over(f"restored from {path.name}", lost=False)

    def follow_lost_ledger(self) -> int:
        """Take this ledger for the successor of one that is lost, and hold everything; mails that were dropped."""
        return self._take_over("an older ledger is lost", lost=True)

    def _take_over(self, reason: str, *, lost: bool) -> int:
        from tinko_pipelines.ledger import restored

        mark, account = self.settings.ledger_mark, self.settings.stripe_account
        return restored.take_over(self.ledger, mark, account, reason, self.clock.now(), lost=lost)

    def pauses(self) -> list[Pause]:
        """Every scope in which charging or mailing is stopped now."""
        from tinko_pipelines.ledger.control import pauses

        return pauses(self.ledger, self.clock.now())

    def restored(self) -> bool:
        """Whether the ledger was restored, or follows a lost one, and is not reconciled since."""
        from tinko_pipelines.ledger import restored

        return restored.pending(self.ledger, self.settings.stripe_account)

    def resume(self, account: str | None, *, reason: str, by: str, anyway: bool = False) -> None:
        """Allow charging and mailing again; refused while ledger and Stripe disagree, unless `anyway`."""
        from tinko_pipelines.ledger import restored

        restored.resume(self.ledger, account, reason, by, self.clock.now(), anyway=anyway)

    def disputes(self) -> list[dict[str, Any]]:
        """What ledger and Stripe disagree about in money, open still."""
        from tinko_pipelines.reconcile import disputes

        return disputes(self.ledger)

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
                on_sent=self.deliver_in_sandbox if self.settings.clock == "sandbox" else None,
            )

    def export_ledger(self) -> dict[str, int]:
        """Write every ledger table to Parquet in one read transaction; rows by table."""
        from tinko_pipelines.ledger.export import export

        return export(self.ledger, self.settings.export_dir)

    def build_marts(self) -> BuildResult:
        """Export the ledger, then build and test the marts with dbt."""
        from tinko_pipelines.reports.dbt_runner import build

        self.lake.refuse_if_empty()
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

    def export_person(self, customer_id: str) -> dict[str, Any]:
        """Everything that is kept of a customer; raises InputError where that is nothing."""
        from tinko_pipelines.privacy.export import everything
        from tinko_pipelines.privacy.person import find_person

        person = find_person(self.lake, self.ledger, self.settings.stripe_account, customer_id)
        return everything(self.lake, self.ledger, self.settings.outbox_dir, person, self.clock.now())

    def erase_person(self, customer_id: str, *, apply: bool) -> Erasing:
        """Take a customer out of everything that is kept, or only tell what that would change."""
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.privacy.erase import Eraser
        from tinko_pipelines.privacy.person import find_person

        person = find_person(self.lake, self.ledger, self.settings.stripe_account, customer_id)
        eraser = Eraser(self.settings, self.ledger, self.lake, self.erased, self.clock.now())
        if not apply:
            return eraser.told(person)
        mark, account = self.settings.ledger_mark, self.settings.stripe_account
        same = mark.exists() and restored.strange(self.ledger, mark) is None
        done = eraser.erase(person, self._make_anew)
        if same:
            restored.remember(self.ledger, mark, account)
        return done

    def _make_anew(self) -> None:
        """Everything that is made of lake and ledger, as far as it was made before."""
        made = self.settings.lake_dir / "derived"
        if (made / "failed_payments.parquet").exists():
            self.failed_payments()
        if (made / "verdicts.parquet").exists():
            self.verdicts()
        if self.settings.export_dir.exists():
            self.export_ledger()
        if self.settings.warehouse_path.exists() or self.settings.snapshot_path.exists():
            self.settings.warehouse_path.unlink(missing_ok=True)
            self.report()

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
            state=self.settings.state,
        )
