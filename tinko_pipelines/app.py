"""The use cases, each once: what an asset, a schedule and a command do is one call of a method here.

This module joins the steps of the flow and holds no decision of its own. It reads no environment: whoever
starts the program hands it a `Settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tinko_pipelines.clock import Clock, SystemClock
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    from tinko_pipelines.checks import InvariantResult
    from tinko_pipelines.gateway.governor import Governor
    from tinko_pipelines.gateway.port import Gateway
    from tinko_pipelines.ledger.store import Ledger
    from tinko_pipelines.model.text import TextModel
    from tinko_pipelines.outreach.send import SendResult
    from tinko_pipelines.retry.drain import DrainResult
    from tinko_pipelines.retry.due import DueSummary


@dataclass(frozen=True)
class App:
    """Everything built from one `Settings`; parts are made when first needed and shared by the process."""

    settings: Settings

    @cached_property
    def clock(self) -> Clock:
        """Business time: the machine's clock."""
        return SystemClock()

    @cached_property
    def governor(self) -> Governor:
        """Our own ceiling on requests to Stripe, shared by all readers and writers of this process."""
        from tinko_pipelines.gateway.governor import Governor

        return Governor(self.settings.stripe_requests_per_second)

    @cached_property
    def gateway(self) -> Gateway:
        """The writing side of Stripe: single objects, our keys, no retries of its own."""
        from tinko_pipelines.gateway.stripe_gateway import StripeGateway

        self.settings.guard()
        return StripeGateway(
            self.settings.key, self.settings.stripe_api_base, self.settings.stripe_account, rate=self.governor
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The truth about money and mail, migrated to the schema of this version."""
        from tinko_pipelines.ledger.store import Ledger

        self.settings.state.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(self.settings.ledger)
        ledger.migrate()
        return ledger

    def text_model(self) -> TextModel | None:
        """The model in use for texts no rule knows, or None before the first training."""
        from tinko_pipelines.model.text import load_text_model

        return load_text_model(self.settings.model_dir)

    def train(self) -> dict[str, Any]:
        """Train the text model on the shipped phrases, store it with its card, return the card."""
        from tinko_pipelines.model.text import save_text_model, train_text_model

        return save_text_model(train_text_model(), self.settings.model_dir)

    def classify_lines(self, lines: Iterable[str]) -> Iterable[str]:
        """JSON lines of declines in, JSON lines of verdicts out."""
        from tinko_pipelines.declines.jsonl import classify_lines

        return classify_lines(lines, self.clock.now().date(), self.text_model())

    def due(self) -> DueSummary:
        """What is due now; cheap enough for a sensor's tick."""
        from tinko_pipelines.retry.due import anything_due

        return anything_due(self.ledger, self.clock.now())

    def drain(
        self, *, owner: str, boundary: Callable[[str], None] | None = None, max_seconds: float | None = None
    ) -> DrainResult:
        """Do all that is due: webhook inbox, unsettled attempts, retries."""
        from tinko_pipelines.retry.drain import drain

        return drain(
            self.ledger,
            self.gateway,
            self.clock,
            workers=self.settings.drain_workers,
            max_seconds=max_seconds or self.settings.drain_seconds,
            owner=owner,
            dry_run=not self.settings.charges_for_real,
            boundary=boundary,
        )

    def send_mail(self, *, owner: str, max_seconds: float | None = None) -> SendResult:
        """Send every message that is due, each at most once."""
        from tinko_pipelines.outreach.send import Merchant, send_due
        from tinko_pipelines.outreach.transport import transport_for

        return send_due(
            self.ledger,
            self.gateway,
            transport_for(self.settings),
            self.clock,
            merchant=Merchant.from_settings(self.settings),
            max_seconds=max_seconds or self.settings.drain_seconds,
            owner=owner,
            dry_run=not self.settings.mails_for_real,
        )

    def export_ledger(self) -> dict[str, int]:
        """Write every ledger table to Parquet in one read transaction; rows by table."""
        from tinko_pipelines.ledger.export import export

        return export(self.ledger, self.settings.export_dir)

    def check(self) -> list[InvariantResult]:
        """Every invariant over a fresh export of the ledger and the lake; each with its breaking rows."""
        from tinko_pipelines.checks import run_invariants

        self.export_ledger()
        return run_invariants(self.settings.export_dir, self.settings.lake_dir, self.clock.now())
