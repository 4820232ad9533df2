"""Answers that must not be followed by another silent retry."""

import pytest

from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.retry.answers import interpret


@pytest.mark.parametrize(
    "code",
    ["authentication_required", "payment_intent_action_required", "invoice_payment_intent_requires_action"],
)
def test_where_the_customer_must_act_the_card_is_not_tried_again_silently(code: str) -> None:
    outcome = interpret(Answer(402, {"error": {}}, error_type="card_error", error_code=code))
    assert (outcome.state, outcome.never_again) == ("declined", True)
