"""The parts of the application that all accounts share, each built from the settings alone: clock, ledger, lake, model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from tinko_pipelines.clock import Clock, FixedClock, SystemClock
from tinko_pipelines.guard import guard_lake
from tinko_pipelines.settings import Settings

if TYPE_CHECKING:
    from tinko_pipelines.lake.erased import Erased
    from tinko_pipelines.lake.store import Lake
    from tinko_pipelines.ledger.store import Ledger
    from tinko_pipelines.model.registry import Registry
    from tinko_pipelines.model.text import TextModel
    from tinko_pipelines.model.workshop import Workshop
    from tinko_pipelines.outreach.send import SentMail


@dataclass(frozen=True)
class Parts:
    """What all use cases need, built from one `Settings`; made when first needed and shared by the process."""

    settings: Settings

    @cached_property
    def clock(self) -> Clock:
        """Business time: the machine's, the running sandbox's, or that at which a stopped sandbox stands."""
        if self.settings.clock == "sandbox":
            from tinko_pipelines.sandbox.client import SandboxClock

            return SandboxClock(self.settings.stripe_api_base)
        stands_at = self.settings.sandbox_stands_at
        return SystemClock() if stands_at is None else FixedClock(stands_at)

    def present(self) -> Callable[[], datetime]:
        """What reads business time often: a sandbox's, which stands still meanwhile, is asked for once."""
        if isinstance(self.clock, SystemClock):
            return self.clock.now
        moment = self.clock.now()
        return lambda: moment

    @cached_property
    def lake(self) -> Lake:
        """What Stripe shows, on our side."""
        from tinko_pipelines.lake.place import place_of
        from tinko_pipelines.lake.store import Lake

        place = place_of(self.settings)
        if self.settings.lake_url is not None:
            guard_lake(self.settings, place)
        return Lake(self.settings.lake_dir, place, self.erased)

    def erased(self, account_id: str) -> Erased:
        """Who was erased by now in an account; what is found of him besides is remembered in the ledger."""
        from tinko_pipelines.lake.erased import Erased, hashed
        from tinko_pipelines.ledger import erasure

        def remember(ids: set[str]) -> None:
            erasure.remember(self.ledger, account_id, map(hashed, ids), self.clock.now())

        return Erased(erasure.known(self.ledger, account_id), remember)

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

    @cached_property
    def registry(self) -> Registry:
        """The timing models that were trained, and which of them is in use."""
        from tinko_pipelines.model.registry import Registry

        return Registry(self.settings.timing_dir)

    @cached_property
    def workshop(self) -> Workshop:
        """The code that trains, opens and measures timing models."""
        from tinko_pipelines.model.workshop import OurWorkshop

        return OurWorkshop()

    def deliver_in_sandbox(self, mail: SentMail) -> None:
        """Nobody reads the outbox of a sandbox, so its customers are told what was sent to them."""
        from tinko_pipelines.sandbox.client import SandboxClient

        if mail.customer_id:
            SandboxClient(self.settings.stripe_api_base).mail(mail.customer_id, mail.message_id, mail.debt_id)
