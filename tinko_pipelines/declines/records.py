"""The words of a verdict: categories, moves, and the records a decline comes in and goes out as. No decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

CATEGORIES: tuple[str, ...] = (
    "insufficient_funds",
    "limit_exceeded",
    "card_expired",
    "incorrect_details",
    "account_closed",
    "lost_or_stolen",
    "suspected_fraud",
    "do_not_honor",
    "authentication_required",
    "mandate_revoked",
    "not_permitted",
    "issuer_unavailable",
    "processing_error",
    "risk_blocked",
    "duplicate",
    "merchant_config",
    "customer_abandoned",
    "unknown",
)
MOVES: tuple[str, ...] = ("retry", "customer", "both", "stop", "wait_stripe", "fix_config")
SOFT_CATEGORIES = frozenset(
    {"insufficient_funds", "limit_exceeded", "do_not_honor", "issuer_unavailable", "processing_error"}
)
TEXT_LENGTH_MAX = 2_000

CATEGORY_MOVE: Mapping[str, str] = {
    "insufficient_funds": "retry",
    "limit_exceeded": "retry",
    "issuer_unavailable": "retry",
    "processing_error": "retry",
    "do_not_honor": "both",
    "suspected_fraud": "stop",
    "mandate_revoked": "stop",
    "duplicate": "stop",
    "merchant_config": "fix_config",
}
"""The move a category stands for when no rule names one; `customer` for all others."""

CUSTOMER_REASON: Mapping[str, str] = {
    "insufficient_funds": "funds",
    "limit_exceeded": "limit",
    "card_expired": "card_expired",
    "incorrect_details": "card_details",
    "authentication_required": "authenticate",
    "customer_abandoned": "authenticate",
    "issuer_unavailable": "temporary",
    "processing_error": "temporary",
}
"""Neutral key for mails; every category not named here is `another_method`, so that none is revealed."""

CUSTOMER_TEXT: Mapping[str, str] = {
    "funds": "The payment did not go through. Please make sure that the account covers it, or pay another way.",
    "limit": "The payment is over what the card may pay at present. Please ask your bank, or pay another way.",
    "card_expired": "The card on file has run out. Please give us the details of the new one.",
    "card_details": "Some of the card's details do not match. Please enter them again, or pay another way.",
    "authenticate": "Your bank asks you to confirm the payment. Please open the link and confirm it.",
    "temporary": "The payment could not be made for a technical reason. Nothing is wrong on your side.",
    "another_method": "Your bank did not accept the payment. Please ask your bank, or pay another way.",
}
"""What the customer may be told, by neutral key; it never says why a bank mistrusts a card."""


@dataclass(frozen=True, slots=True)
class Decline:
    """What is known of one refused payment. Every field may be missing."""

    code: str | None = None
    message: str | None = None
    network: str | None = None
    network_decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    outcome_type: str | None = None
    outcome_reason: str | None = None
    failure_code: str | None = None
    payment_method_type: str | None = None
    gateway: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Decline:
        """Read a mapping with any content; what is neither text nor a number counts as missing."""
        return cls(**{name: as_text(values[name]) for name in DECLINE_FIELDS if values.get(name) is not None})


DECLINE_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Decline))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Category, whose move it is, why, and where that comes from.

    `retry_same_card` is False where a retry is forbidden or pointless; `wait_hours` is the network's own advice.
    """

    category: str
    move: str
    reason: str
    rule: str
    source: str
    confidence: float
    retry_same_card: bool
    wait_hours: float | None = None
    customer_reason: str = "another_method"

    @property
    def customer_text(self) -> str:
        """What the customer may be told of it."""
        return CUSTOMER_TEXT[self.customer_reason]


def as_text(value: object) -> str | None:
    """One line of text of bounded length, or None for anything empty or of another kind."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, int) and abs(value) >= 10**18:
        return None
    text = " ".join(str(value)[:TEXT_LENGTH_MAX].split())
    return text or None
