"""Who may be retried at all. A pure function of one failed payment; it plans nothing and stores nothing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tinko_pipelines.retry.policy import Policy

RETRIED_METHODS = ("card", "link")


@dataclass(frozen=True, slots=True)
class Gate:
    """`close_as` ends the effort; else `retry` says whether we may charge, and `reason` why not."""

    retry: bool
    move: str
    reason: str | None = None
    close_as: str | None = None


def settled_as(row: dict[str, Any]) -> tuple[str, str] | None:
    """The state of a case whose debt the lake shows as settled, and why; None while it is owed."""
    status = row.get("status")
    if status == "paid":
        return "paid_elsewhere", "Stripe shows it paid"
    if row.get("paid_elsewhere_by"):
        return "paid_elsewhere", f"paid by another intent, {row['paid_elsewhere_by']}"
    if status in ("canceled", "void", "uncollectible", "refunded"):
        return "cancelled", f"debt is {status}"
    if row.get("disputed"):
        return "cancelled", "a charge of it is disputed"
    if row.get("customer_deleted"):
        return "cancelled", "customer is deleted"
    if row.get("subscription_status") in ("canceled", "incomplete_expired"):
        return "cancelled", "subscription is cancelled"
    return None


def gate(row: dict[str, Any], policy: Policy) -> Gate:
    """Decide for one open failed payment with its verdict."""
    move = str(row.get("move") or "customer")
    if move == "stop":
        return Gate(False, move, row.get("reason") or "the verdict forbids it", "not_ours")
    if move == "fix_config":
        return Gate(False, move, row.get("reason") or "ours to repair", "needs_human")
    if row.get("next_payment_attempt_at") is not None and policy.billing_mode == "beside":
        return Gate(False, "wait_stripe", "Stripe retries this invoice itself")
    refused = _refusal(row)
    wanted = move in ("retry", "both", "wait_stripe") and row.get("retry_same_card") is not False
    if refused is None and (wanted or row.get("card_changed_since_failure")):
        return Gate(True, "retry" if move == "wait_stripe" else move)
    return Gate(False, "customer", refused or "only the customer can help")


def _refusal(row: dict[str, Any]) -> str | None:
    kind = row.get("debt_kind")
    method = refused_method(row.get("payment_method_type"), row.get("card_country"))
    checks = (
        (kind not in ("invoice", "payment_intent"), "a charge without intent is not retried"),
        (row.get("payment_method_id") is None, "no payment method is left"),
        (method is not None, method),
        (
            kind == "invoice" and row.get("collection_method") != "charge_automatically",
            "the invoice is sent, not charged",
        ),
        (
            kind == "payment_intent" and not row.get("off_session_consent"),
            "no evidence of off-session consent",
        ),
    )
    return next((reason for holds, reason in checks if holds), None)


def refused_method(method_type: str | None, card_country: str | None) -> str | None:
    """Why no method of this kind is ever charged without its owner; None when it may be."""
    if method_type not in RETRIED_METHODS:
        return "only cards are retried"
    return "cards issued in India need the customer" if card_country == "IN" else None


def too_old(row: dict[str, Any], now: Any, policy: Policy) -> bool:
    """Whether the failure is older than what is taken up."""
    return bool(row["last_failed_at"] < now - timedelta(days=policy.max_age_days))
