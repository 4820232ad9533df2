"""The use cases, each once: what an asset, a schedule and a command do is one call of a method here.

This module joins the steps of the flow and holds no decision of its own. It reads no environment: whoever
starts the program hands it a `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.every_account import summed
from tinko_pipelines.guard import guard
from tinko_pipelines.planning import Planning

if TYPE_CHECKING:
    from tinko_pipelines.checks import InvariantResult
    from tinko_pipelines.ledger.control import Pause
    from tinko_pipelines.model.taught import Taught
    from tinko_pipelines.outreach.send import SendResult
    from tinko_pipelines.privacy.erase import Erasing
    from tinko_pipelines.reconcile import Reconciled
    from tinko_pipelines.reports.dbt_runner import BuildResult
    from tinko_pipelines.reports.query import QueryResult
    from tinko_pipelines.retry.drain import DrainResult
    from tinko_pipelines.retry.due import DueSummary


@dataclass(frozen=True)
class App(Planning):
    """Every use case over the same parts, for all accounts."""

    def train(self) -> dict[str, Any]:
        """Train the text model on the shipped phrases and what was taught, store it with its card, return the card."""
        from tinko_pipelines.model.taught import read_taught
        from tinko_pipelines.model.text import save_text_model, train_text_model

        directory = self.settings.model_dir
        return save_text_model(train_text_model(read_taught(directory)), directory)

    def teach(self, lines: Iterable[str]) -> Taught:
        """Keep an operator's own wordings with their categories for the next training."""
        from tinko_pipelines.model.taught import teach

        return teach(lines, self.settings.model_dir, self.clock.now().date())

    def classify_lines(self, lines: Iterable[str], *, explain: bool = False) -> Iterable[str]:
        """JSON lines of declines in, JSON lines of verdicts out."""
        from tinko_pipelines.declines.jsonl import classify_lines

        return classify_lines(lines, self.clock.now().date(), self.text_model(), explain=explain)

    def due(self) -> DueSummary:
        """What is due now; cheap enough for a sensor's tick."""
        from tinko_pipelines.retry.due import anything_due

        now, names, livemode = self.clock.now(), self.settings.account_names, self.livemode_if_known
        return summed([anything_due(self.ledger, now, name, livemode) for name in names])

    def drain(
        self, *, owner: str, boundary: Callable[[str], None] | None = None, max_seconds: float | None = None
    ) -> DrainResult:
        """Do all that is due: webhook inbox, unsettled attempts, retries."""
        return self.in_turn(lambda one, seconds: one.drain(owner, seconds, boundary), max_seconds)

    def reconcile(self, *, whole: bool | None = None) -> Reconciled:
        """Hold the ledger against Stripe: since the last time, and the whole window once a day or when asked."""
        first, *others = self.each(lambda one: one.reconcile(whole=whole))
        for other in others:
            first = first.plus(other)
        return first

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

        mark, now = self.settings.ledger_mark, self.clock.now()
        names = self.settings.account_names
        return restored.take_over(self.ledger, mark, names, reason, now, lost=lost)

    def pauses(self) -> list[Pause]:
        """Every scope in which charging or mailing is stopped now."""
        from tinko_pipelines.ledger.control import pauses

        return pauses(self.ledger, self.clock.now())

    def restored(self) -> bool:
        """Whether the ledger was restored, or follows a lost one, and an account is not reconciled since."""
        from tinko_pipelines.ledger import restored

        return any(restored.pending(self.ledger, name) for name in self.settings.account_names)

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
        return self.in_turn(lambda one, seconds: one.send_mail(owner, seconds), max_seconds)

    def export_ledger(self) -> dict[str, int]:
        """Write every ledger table to Parquet in one read transaction; rows by table."""
        from tinko_pipelines.ledger.export import export

        return export(self.ledger, self.settings.export_dir, self.clock.now())

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

    def export_person(self, customer_id: str, account: str | None = None) -> dict[str, Any]:
        """Everything that is kept of a customer of an account, the main one by default; InputError where that is nothing."""
        from tinko_pipelines.outreach.addresses import read_or_make_salt
        from tinko_pipelines.privacy.export import everything
        from tinko_pipelines.privacy.person import find_person

        settings, person = (
            self.settings,
            find_person(self.lake, self.ledger, self._known(account), customer_id),
        )
        salt = read_or_make_salt(settings.mail_salt)
        return everything(self.lake, self.ledger, settings.outbox_dir, person, self.clock.now(), salt)

    def erase_person(self, customer_id: str, account: str | None = None, *, apply: bool) -> Erasing:
        """Take a customer of an account out of everything that is kept, or only tell what that would change."""
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.privacy.erase import Eraser
        from tinko_pipelines.privacy.person import find_person

        person = find_person(self.lake, self.ledger, self._known(account), customer_id)
        eraser = Eraser(self.settings, self.ledger, self.lake, self.erased, self.clock.now())
        if not apply:
            return eraser.told(person)
        mark, names = self.settings.ledger_mark, self.settings.account_names
        same = mark.exists() and restored.strange(self.ledger, mark) is None

        def emptied() -> None:
            # What the mark tells of the ledger may have lost its person.
            if same:
                restored.remember(self.ledger, mark, names)

        with self.nobody_erased():
            return eraser.erase(person, emptied, self._make_anew)

    def _known(self, account: str | None) -> str:
        """The name of an account that the settings or the ledger know; one may be erased of that is served no more."""
        from tinko_pipelines.ledger.control import accounts

        name, known = account or self.settings.stripe_account, {*self.settings.account_names}
        if name not in known and name not in (known := known | accounts(self.ledger)):
            raise InputError(f"there is no account {name!r}; known are {', '.join(sorted(known))}")
        return name

    def _make_anew(self) -> None:
        """Everything that is made of lake and ledger, as far as it was made before."""
        if self.lake.has_derived("failed_payments"):
            self.find_failed()
        if self.lake.has_derived("verdicts"):
            self.classify_failed()
        if self.lake.has_derived("training_set"):
            self.gather_attempts()
        if self.settings.export_dir.exists():
            self.export_ledger()
        if self.settings.warehouse_path.exists() or self.settings.snapshot_path.exists():
            self.settings.warehouse_path.unlink(missing_ok=True)
            self.report()

    def summary(self) -> dict[str, Any]:
        """The core numbers of the published snapshot."""
        from tinko_pipelines.reports.summary import summary

        return summary(self.settings)

    def metrics_sql(self, names: Sequence[str], by: Sequence[str], where: str) -> str:
        """The SELECT for these metrics by these columns on the published snapshot."""
        from tinko_pipelines.reports.metrics import catalogue, metrics_sql
        from tinko_pipelines.reports.snapshot import opened

        with opened(self.settings) as connection:
            return metrics_sql(catalogue(connection), names, by, where)

    def query(self, sql: str, max_rows: int) -> QueryResult:
        """Rows of one SELECT on the published snapshot."""
        from tinko_pipelines.reports.query import query

        return query(self.settings, sql, max_rows)

    def check(self) -> list[InvariantResult]:
        """Every invariant over a fresh export of the ledger and the lake; each with its breaking rows."""
        from tinko_pipelines.checks import run_invariants
        from tinko_pipelines.lake.place import current_folder

        self.export_ledger()
        return run_invariants(
            self.settings.export_dir,
            current_folder(self.settings),
            self.clock.now(),
            enrol_max_age_days=self.settings.enrol_max_age_days,
            report=self.settings.snapshot_path,
            state=self.settings.state,
        )
