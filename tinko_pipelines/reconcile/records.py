"""What the two sides say, as plain data: a charge at Stripe, a case with its attempts, and where they part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KEY_PREFIX = "tinko:v1:"
_KEPT = (
    "id object created livemode status amount currency customer payment_method payment_method_details outcome failure_code"
).split()
"""What else of a charge is kept: why it was refused, and what the caps count it by."""


@dataclass(slots=True)
class Charge:
    """One charge. `asked` says that an event told who asked for it: `asked_by` then is our attempt, or nobody of ours."""

    id: str
    created_at: datetime
    status: str
    amount_minor: int
    currency: str
    refunded: bool
    intent_id: str | None
    case_tag: str | None
    attempt_tag: str | None
    details: Mapping[str, Any]
    asked: bool = False
    asked_by: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it took the money, given back since or not."""
        return self.status == "succeeded"

    @property
    def names(self) -> str | None:
        """The attempt it names: by the request that made it, else by the tag its intent carried."""
        return self.asked_by if self.asked else self.attempt_tag


@dataclass(frozen=True, slots=True)
class Held:
    """A case as the ledger holds it, with its attempts in order."""

    case: Mapping[str, Any]
    attempts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement; `money` ones stop charging. `subject` stays the same for as long as it lasts."""

    kind: str
    subject: str
    detail: str
    money: bool = True
    case_id: str | None = None
    proposal: str | None = None
    charge_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None


@dataclass(slots=True)
class Verdict:
    """What comes of one case: where the sides part, and whether the janitor should look at it."""

    findings: list[Finding] = field(default_factory=list)
    look: bool = False


def charge_from(raw: Any) -> Charge | None:
    """Read a charge as Stripe spells it; None for what is none."""
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
        return None
    created, amount, currency = raw.get("created"), raw.get("amount"), raw.get("currency")
    if not isinstance(created, int) or not isinstance(amount, int) or not isinstance(currency, str):
        return None
    tags = raw.get("metadata") or {}
    return Charge(
        raw["id"],
        datetime.fromtimestamp(created, UTC),
        str(raw.get("status")),
        amount,
        currency,
        bool(raw.get("refunded")),
        name_of(raw.get("payment_intent")),
        text_of(tags, "tinko_case"),
        text_of(tags, "tinko_attempt"),
        {name: raw.get(name) for name in _KEPT},
    )


def asked_by(event: Any) -> tuple[str | None, str | None]:
    """The object an event tells of, and the attempt of ours whose request caused it (None: somebody else)."""
    body = (event.get("data") or {}).get("object") if isinstance(event, dict) else None
    key = ((event.get("request") or {}) if isinstance(event, dict) else {}).get("idempotency_key")
    ours = isinstance(key, str) and key.startswith(KEY_PREFIX)
    return name_of(body), key.removeprefix(KEY_PREFIX).split(":")[0] if ours and key else None


def name_of(value: Any) -> str | None:
    """The id in `value`, expanded or not."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None


def text_of(tags: Any, name: str) -> str | None:
    """One tag, if it is there and text."""
    value = tags.get(name) if isinstance(tags, dict) else None
    return value if isinstance(value, str) else None
