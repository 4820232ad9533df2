"""The seam inside the sandbox: `Stripe` is the book (objects, HTTP), `World` is everybody outside it.

The world (issuers, cardholders, customers, the merchant) acts on the book only through `StripeActions`; the
book asks the world only for `decide` and hands it back its own scheduled happenings. All times are unix
seconds of the sandbox's clock, all amounts integer minor units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

EPOCH = 1_788_220_800
"""2026-09-01T00:00:00Z: the moment recovery starts; history lies before it."""


@dataclass(frozen=True, slots=True)
class CardTruth:
    """A physical card or bank account as the world knows it; `key` names it in every outcome."""

    key: str
    brand: str
    network: str
    funding: str
    country: str
    exp_month: int
    exp_year: int
    fingerprint: str
    last4: str
    issuer: str
    type: str = "card"
    test_token: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the network and issuer answer to one authorization; codes as Stripe spells them, None when absent."""

    outcome: str
    """approved, declined, requires_action or processing."""
    failure_code: str | None = None
    decline_code: str | None = None
    outcome_type: str = "authorized"
    network_status: str = "approved_by_network"
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    advice_code: str | None = None
    risk_level: str = "normal"
    message: str | None = None


class StripeActions(Protocol):
    """What the world may do to the book. Each happens at the book's present moment and emits events."""

    def now(self) -> int:
        """The book's present moment."""
        ...

    def schedule(self, at: int, kind: str, payload: Mapping[str, object]) -> None:
        """Have `World.handle(kind, payload)` called when the clock passes `at`; ties keep this call's order."""
        ...

    def create_customer(
        self, email: str, name: str, country: str, locale: str, card: CardTruth | None
    ) -> str:
        """A customer, with `card` attached as the default for invoices; returns its id."""
        ...

    def attach_card(self, customer: str, card: CardTruth) -> str:
        """Attach another card and make it the default of customer and subscriptions; returns its id."""
        ...

    def create_price(
        self, nickname: str, unit_amount_minor: int, currency: str, interval: str, interval_count: int
    ) -> str:
        """A recurring price; returns its id."""
        ...

    def create_subscription(self, customer: str, price: str) -> str:
        """A subscription charged automatically, not yet billed; returns its id."""
        ...

    def renew(self, subscription: str, stripe_retries: bool) -> str:
        """Bill one period: invoice, intent and first charge; returns the invoice's id.

        With `stripe_retries` a failure sets `next_payment_attempt`, and Stripe's own retries happen.
        """
        ...

    def charge_one_off(
        self,
        customer: str,
        amount_minor: int,
        currency: str,
        on_session: bool,
        save_card: bool,
        order_id: str,
    ) -> str:
        """A payment intent outside billing with its first charge; returns its id."""
        ...

    def pay_on_session(self, debt: str, card: CardTruth | None) -> bool:
        """The customer pays an open invoice or intent himself, with `card` or the one on file."""
        ...

    def cancel_subscription(self, subscription: str, reason: str) -> None:
        """End a subscription now; its open invoices stay open unless voided."""
        ...

    def void_invoice(self, invoice: str) -> None:
        """Void an open invoice."""
        ...

    def refund(self, debt: str, amount_minor: int | None) -> None:
        """Refund a paid debt, wholly when no amount is given."""
        ...

    def dispute(self, debt: str) -> None:
        """The cardholder disputes the successful charge of a debt."""
        ...

    def is_open(self, debt: str) -> bool:
        """Whether an invoice or intent is still owed."""
        ...

    def is_paid(self, debt: str) -> bool:
        """Whether an invoice or intent has a successful charge."""
        ...

    def customer_of(self, debt: str) -> str:
        """The customer an invoice or intent belongs to."""
        ...


class World(Protocol):
    """Everybody outside Stripe: answers authorizations, and acts when its happenings come due."""

    def begin(self, stripe: StripeActions) -> None:
        """Schedule the first happenings of an empty book, from the start of history."""
        ...

    def decide(
        self, card: CardTruth, at: int, amount_minor: int, currency: str, off_session: bool
    ) -> Decision:
        """The outcome of an authorization: a pure function of the seed, the card and the moment."""
        ...

    def handle(self, stripe: StripeActions, kind: str, payload: Mapping[str, object]) -> None:
        """Act on a happening scheduled earlier, at the moment it was scheduled for."""
        ...

    def mail_delivered(self, stripe: StripeActions, customer: str, debt: str, message_id: str) -> None:
        """A recovery mail reached a customer; schedule what he will do about it, if anything."""
        ...
