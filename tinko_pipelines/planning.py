"""The use cases from the lake to planned cases, for all accounts. Holds no decision of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from tinko_pipelines.watching import Watching

if TYPE_CHECKING:
    import pyarrow as pa

    from tinko_pipelines.retry.enrol import EnrolResult


DEBT = ("account_id", "debt_id")
"""What names a row of the tables made of failed payments."""


@dataclass(frozen=True)
class Planning(Watching):
    """Which payments failed, whose move it is, what is to be done."""

    def failed_payments(self) -> pa.Table:
        """Find the debts whose first charge failed and keep them as a derived table."""
        with self.nobody_erased():
            return self.find_failed()

    def find_failed(self) -> pa.Table:
        """The same for who has seen to it that nobody is erased meanwhile."""
        from tinko_pipelines.lake.debts import failed_payments

        self.lake.refuse_if_empty()
        table = failed_payments(self.lake, self.clock.now())
        self.lake.write_derived("failed_payments", table, DEBT, self.clock.now())
        return table

    def training_set(self) -> pa.Table:
        """Gather every attempt with what was known before it, and keep them as a derived table."""
        with self.nobody_erased():
            return self.gather_attempts()

    def gather_attempts(self) -> pa.Table:
        """The same for who has seen to it that nobody is erased meanwhile."""
        from tinko_pipelines.model.timing.training_set import training_set

        self.lake.refuse_if_empty()
        return training_set(self.lake, self.ledger, self.clock.now(), self.text_model())

    def nobody_erased(self) -> AbstractContextManager[None]:
        """Until this is over nobody is erased; what was read of the lake before might bring somebody back."""
        from tinko_pipelines.lake.turns import only_one

        return only_one(self.lake, "erasure")

    def verdicts(self) -> pa.Table:
        """Classify the failed payments and keep them with their verdicts as a derived table."""
        with self.nobody_erased():
            return self.classify_failed()

    def classify_failed(self) -> pa.Table:
        """The same for who has seen to it that nobody is erased meanwhile."""
        from tinko_pipelines.declines.table import classify_payments

        failed = self.lake.read_derived("failed_payments", "tinko plan")
        table = classify_payments(failed, self.clock.now().date(), self.text_model())
        self.lake.write_derived("verdicts", table, DEBT, self.clock.now())
        return table

    def enrol(self) -> EnrolResult:
        """Open, replan and close cases by the verdicts, after noting every card attempt Stripe has seen."""
        with self.nobody_erased():
            return self._enrol()

    def _enrol(self) -> EnrolResult:
        from tinko_pipelines.lake.traces import attempts_named
        from tinko_pipelines.ledger import restored
        from tinko_pipelines.ledger.mirror import mirror_charges
        from tinko_pipelines.retry.enrol import enrol
        from tinko_pipelines.retry.naming import name_charges

        verdicts = self.lake.read_derived("verdicts", "tinko plan")
        charges = self.lake.table("charges")
        mirror_charges(self.ledger, charges)
        name_charges(self.ledger, charges, self.lake.table("invoice_payments"))
        now, names = self.clock.now(), self.settings.account_names
        # Before it fills with cases that were opened, and written about, before.
        restored.hold_another(self.ledger, self.settings.ledger_mark, names, now)
        for name in names:
            traces = partial(attempts_named, self.lake, name)
            restored.hold_successor(self.ledger, traces, name, now, names)
        result = self.noted(enrol(self.ledger, verdicts, now=now, policy=self.policy(now)), now)
        return replace(result, card_mails=self._write_before_expiry(now))

    def _write_before_expiry(self, now: datetime) -> int:
        """Let a mail go out before each card ends that is still to be charged; how many are new."""
        from tinko_pipelines.lake.expiring import expiring_cards
        from tinko_pipelines.ledger.restored import forgiven_before
        from tinko_pipelines.outreach import cards, sequences

        days = self.settings.card_expiry_days
        if not days:
            return 0
        return cards.schedule(
            self.ledger,
            expiring_cards(self.lake, now, days),
            now=now,
            sequences=sequences.load(self.settings.sequences),
            days=days,
            lost_before=partial(forgiven_before, self.ledger),
        )

    def plan(self) -> EnrolResult:
        """From the lake to planned cases: find failed payments, classify them, enrol them."""
        self.failed_payments()
        self.verdicts()
        return self.enrol()
