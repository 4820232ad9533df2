"""The closed table of what Stripe's answer to a charge means. Anything not in it is `unknown`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tinko_pipelines.declines.classify import classify, forbids_card, never_again
from tinko_pipelines.declines.records import Decline, Verdict
from tinko_pipelines.gateway.records import Answer

UNCAPTURED = "uncaptured"
"""The bank has reserved the money, and nobody has taken it: whoever captures by hand must, or let it go."""


def is_reserved(charge: Mapping[str, Any]) -> bool:
    """Whether the charge only reserves its money; one that was let go shows as refunded besides."""
    return charge.get("status") == "succeeded" and charge.get("captured") is False


def is_paid(charge: Mapping[str, Any]) -> bool:
    """Whether the charge has brought money."""
    return charge.get("status") == "succeeded" and charge.get("captured") is not False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: its next state, and what Stripe said about it.

    Before `wait_hours` are over there is no use in asking again, or in trying again.
    """

    state: str
    answer: str
    executed: bool = False
    http_status: int | None = None
    request_id: str | None = None
    charge_id: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    detail: str | None = None
    wait_hours: float = 0.0

    def decline(self, card_brand: str | None) -> Decline:
        """This refusal, as the rules read it."""
        return Decline(
            code=self.decline_code,
            network=card_brand,
            network_decline_code=self.network_decline_code,
            advice_code=self.advice_code,
            network_advice_code=self.network_advice_code,
        )

    def verdict(self, card_brand: str | None, on: date) -> Verdict:
        """What the dated rules of banks and networks say of this refusal."""
        return classify(self.decline(card_brand), on)

    def never_again(self, card_brand: str | None, on: date) -> bool:
        """Whether a rule forbids to try this card again for this debt as it is."""
        return never_again(self.decline(card_brand), on)

    def forbids_card(self, card_brand: str | None, on: date) -> bool:
        """Whether a rule forbids to try this card again for whatever debt."""
        return self.never_again(card_brand, on) and forbids_card(self.decline(card_brand), on)


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None


def interpret(answer: Answer) -> Outcome:
    """Read the answer to `invoice.pay` or `payment_intent.confirm`."""
    status = answer.http_status
    common: dict[str, Any] = {"http_status": status, "request_id": answer.request_id}
    if status is None:
        return Outcome("unknown", "transport", detail=answer.transport_error, **common)
    if answer.ok:
        return _accepted(answer.body or {}, common)
    if status == 402 and answer.error_type == "card_error":
        return _declined(answer, common)
    if status in (401, 403):
        return Outcome("abandoned", "key_refused", detail=answer.message, **common)
    named = {400: "look", 404: "gone", 409: "conflict", 429: "rate_limited"}
    kind = "idempotency_error" if answer.error_type == "idempotency_error" else named.get(status)
    detail = answer.message or answer.error_code
    kind = kind or ("server_error" if status >= 500 else "other")
    wait_hours = (answer.retry_after_seconds or 0.0) / 3600
    return Outcome("unknown", kind, detail=detail, wait_hours=wait_hours, **common)


def _accepted(body: dict[str, Any], common: dict[str, Any]) -> Outcome:
    kind, status = body.get("object"), body.get("status")
    charge = _text(body.get("latest_charge"))
    if (kind, status) in (("payment_intent", "succeeded"), ("invoice", "paid")):
        return Outcome("succeeded", "succeeded", executed=True, charge_id=charge, **common)
    if kind == "payment_intent" and status in ("processing", "requires_action"):
        return Outcome(str(status), str(status), executed=True, charge_id=charge, **common)
    if (kind, status) == ("payment_intent", "requires_capture"):
        return Outcome("processing", UNCAPTURED, executed=True, charge_id=charge, **common)
    return Outcome("unknown", "unexpected_body", detail=f"{kind} {status}"[:100], **common)


def _declined(answer: Answer, common: dict[str, Any]) -> Outcome:
    error = (answer.body or {}).get("error") or {}
    return Outcome(
        "declined",
        "declined",
        executed=True,
        charge_id=_text(error.get("charge")),
        decline_code=answer.decline_code or answer.error_code,
        advice_code=answer.advice_code,
        network_decline_code=answer.network_decline_code,
        network_advice_code=answer.network_advice_code,
        detail=answer.message,
        **common,
    )


def from_charge(charge: dict[str, Any]) -> Outcome:
    """Read the outcome off the charge an attempt made, found by a later GET."""
    if is_reserved(charge):
        state, answer = ("abandoned", "released") if charge.get("refunded") else ("processing", UNCAPTURED)
        return Outcome(state, answer, executed=True, charge_id=_text(charge.get("id")))
    outcome = charge.get("outcome") or {}
    state = {"succeeded": "succeeded", "pending": "processing", "failed": "declined"}.get(
        str(charge.get("status")), "unknown"
    )
    return Outcome(
        state,
        f"found_{state}",
        executed=True,
        charge_id=_text(charge.get("id")),
        decline_code=(outcome.get("reason") or charge.get("failure_code")) if state == "declined" else None,
        advice_code=outcome.get("advice_code"),
        network_decline_code=outcome.get("network_decline_code"),
        network_advice_code=outcome.get("network_advice_code"),
        detail=charge.get("failure_message"),
    )
