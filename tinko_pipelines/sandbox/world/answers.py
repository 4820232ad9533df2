"""Decisions spelled as Stripe spells them: one function per kind of answer, no chance in here."""

from tinko_pipelines.sandbox.ports import Decision

APPROVED = Decision(outcome="approved")

MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_number": "Your card number is incorrect.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
OWN_FAILURE_CODES = frozenset(
    {"expired_card", "incorrect_number", "incorrect_cvc", "processing_error", "authentication_required"}
)
"""Decline codes that are also the failure code; every other one fails as `card_declined`."""

NETWORK_CODES = {
    "insufficient_funds": "51",
    "do_not_honor": "05",
    "generic_decline": "05",
    "expired_card": "54",
    "lost_card": "41",
    "stolen_card": "43",
    "pickup_card": "04",
    "transaction_not_allowed": "57",
    "incorrect_number": "14",
    "invalid_account": "46",
    "card_velocity_exceeded": "65",
    "issuer_not_available": "91",
    "try_again_later": "91",
    "processing_error": "96",
    "authentication_required": "1A",
    "incorrect_cvc": "N7",
}
NO_MORE = frozenset({"lost_card", "stolen_card", "pickup_card", "transaction_not_allowed", "invalid_account"})
CHECK_DATA = frozenset({"expired_card", "incorrect_number", "incorrect_cvc"})
MASTERCARD_WAITS = ((1, "24"), (24, "25"), (48, "26"), (96, "27"), (144, "28"), (192, "29"))


def declined(code: str, network: str, mastercard_advice: str | None = None) -> Decision:
    """An issuer's refusal, with the raw code of Visa and the advice of Mastercard where they exist."""
    return Decision(
        outcome="declined",
        failure_code=code if code in OWN_FAILURE_CODES else "card_declined",
        decline_code=code,
        outcome_type="issuer_declined",
        network_status="declined_by_network",
        network_decline_code=_network_code(code, network),
        network_advice_code=mastercard_advice if network == "mastercard" else None,
        advice_code=stripe_advice(code),
        message=MESSAGES.get(code, "Your card was declined."),
    )


def blocked(reason: str) -> Decision:
    """Stripe itself keeps the charge back; no issuer ever sees it."""
    risky = reason == "highest_risk_level"
    return Decision(
        outcome="declined",
        failure_code="card_declined",
        decline_code=reason,
        outcome_type="blocked",
        network_status="not_sent_to_network",
        advice_code=None if risky else "do_not_try_again",
        risk_level="highest" if risky else "normal",
        message="Your card was declined.",
    )


def stripe_advice(code: str) -> str:
    """What Stripe advises after a decline code."""
    if code in NO_MORE:
        return "do_not_try_again"
    return "confirm_card_data" if code in CHECK_DATA | {"authentication_required"} else "try_again_later"


def mastercard_wait(hours: float) -> str:
    """The advice code of Mastercard that says to wait about so long, ten days at most."""
    return next((code for limit, code in MASTERCARD_WAITS if hours <= limit), "30")


def _network_code(code: str, network: str) -> str | None:
    if network == "mastercard" and code == "invalid_account":
        return "14"
    if network == "mastercard" and code == "authentication_required":
        return "65"
    return NETWORK_CODES.get(code)
