"""What each answer means, and which must not be followed by another silent retry."""

from datetime import date

import pytest

from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.retry.answers import Outcome, interpret


@pytest.mark.parametrize(
    "code",
    ["authentication_required", "payment_intent_action_required", "invoice_payment_intent_requires_action"],
)
def test_where_the_customer_must_act_the_card_is_not_tried_again_silently(code: str) -> None:
    outcome = interpret(Answer(402, {"error": {}}, error_type="card_error", error_code=code))
    assert outcome.state == "declined"
    assert outcome.never_again("visa", date(2026, 11, 1))


def test_a_network_forbids_from_the_day_its_rule_holds() -> None:
    refused = Outcome("declined", "declined", decline_code="generic_decline", network_decline_code="57")
    assert not refused.never_again("visa", date(2026, 10, 24))
    assert refused.never_again("visa", date(2026, 10, 25))
    stopped = Outcome("declined", "declined", decline_code="do_not_honor", network_advice_code="21")
    assert stopped.never_again("mastercard", date(2026, 11, 1))
    assert not stopped.never_again("visa", date(2026, 11, 1))


@pytest.mark.parametrize(("code", "hours"), [("24", 1), ("25", 24), ("27", 96), ("30", 240)])
def test_a_network_names_a_waiting_time(code: str, hours: float) -> None:
    refused = Outcome("declined", "declined", decline_code="insufficient_funds", network_advice_code=code)
    assert refused.verdict("mastercard", date(2026, 11, 1)).wait_hours == hours


@pytest.mark.parametrize(
    ("status", "error_type", "wait_seconds", "answer"),
    [
        (409, None, 2.0, "conflict"),
        (429, None, 30.0, "rate_limited"),
        (404, None, None, "gone"),
        (400, "invalid_request_error", None, "look"),
        (400, "idempotency_error", None, "idempotency_error"),
        (500, "api_error", None, "server_error"),
        (302, None, None, "other"),
        (None, None, None, "transport"),
    ],
)
def test_whatever_does_not_tell_the_outcome_is_unknown(
    status: int | None, error_type: str | None, wait_seconds: float | None, answer: str
) -> None:
    body = None if status is None else {"error": {}}
    outcome = interpret(Answer(status, body, error_type=error_type, retry_after_seconds=wait_seconds))
    assert (outcome.state, outcome.answer, outcome.executed) == ("unknown", answer, False)
    assert outcome.wait_hours == (wait_seconds or 0) / 3600


@pytest.mark.parametrize("body", [{}, {"object": "payment_intent"}, {"object": "invoice", "status": "open"}])
def test_a_success_without_a_word_of_what_succeeded_is_unknown(body: dict[str, str]) -> None:
    assert interpret(Answer(200, dict(body))).answer == "unexpected_body"


@pytest.mark.parametrize("charge", ["ch_1", {"id": "ch_1", "object": "charge"}])
@pytest.mark.parametrize("status", ["succeeded", "processing", "requires_action"])
def test_an_accepted_call_names_its_charge(status: str, charge: object) -> None:
    outcome = interpret(Answer(200, {"object": "payment_intent", "status": status, "latest_charge": charge}))
    assert (outcome.state, outcome.charge_id, outcome.executed) == (status, "ch_1", True)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_has_run_nothing(status: int) -> None:
    outcome = interpret(Answer(status, {"error": {}}))
    assert (outcome.state, outcome.answer, outcome.executed) == ("abandoned", "key_refused", False)
