"""The documented test payment methods: what each of them does, whatever the seed."""

from tinko_pipelines.sandbox.ports import Decision
from tinko_pipelines.sandbox.world.answers import APPROVED, blocked, declined

DECLINES = {
    "chargedeclined": "generic_decline",
    "chargecustomerfail": "generic_decline",
    "chargedeclinedinsufficientfunds": "insufficient_funds",
    "chargedeclinedloststolen": "lost_card",
    "chargedeclinedlostcard": "lost_card",
    "chargedeclinedstolencard": "stolen_card",
    "chargedeclinedvelocitylimitexceeded": "card_velocity_exceeded",
    "chargedeclinedexpiredcard": "expired_card",
    "chargedeclinedincorrectcvc": "incorrect_cvc",
    "chargedeclinedprocessingerror": "processing_error",
}
BLOCKS = frozenset({"radarblock", "risklevelhighest", "chargedeclinedfraudulent"})
CONFIRMED_ON_SESSION = frozenset({"authenticationrequired", "threedsecurerequired", "threedsecure2required"})
ALWAYS_ASKS_THE_PRESENT = frozenset({"authenticationrequiredonsetup"})
"""Passes off-session, since it counts as set up; a customer who is present must authenticate."""


def decide_test_token(token: str, off_session: bool = True) -> Decision:
    """What a `pm_card_…` or `tok_…` test method does when charged; names of no special meaning succeed."""
    name = token.lower().removeprefix("pm_").removeprefix("tok_").removeprefix("card_")
    name = name.removeprefix("visa_")
    if name in BLOCKS:
        return blocked("highest_risk_level")
    if name in CONFIRMED_ON_SESSION:
        if off_session:
            return declined("authentication_required", "visa")
        return Decision(outcome="requires_action")
    if name in ALWAYS_ASKS_THE_PRESENT and not off_session:
        return Decision(outcome="requires_action")
    code = DECLINES.get(name)
    return declined(code, "visa") if code else APPROVED
