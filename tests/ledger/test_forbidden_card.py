"""A card that may never be tried again is tried for no debt, not even where the code forgets to ask."""

from datetime import date

import pytest

from tests.fake_stripe import NOW
from tests.ledger.rows import add_attempt, attempt_values, hours, move, refusal, undone
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.schema import attempt
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.answers import Outcome


@pytest.mark.parametrize(("changes", "allowed"), [
    ({}, False), ({"card_fingerprint": "other"}, True), ({"account_id": "other"}, True),
    ({"card_fingerprint": None}, True), ({"forbids_card": False}, True),
])  # fmt: skip
def test_no_other_debt_is_tried_with_it(untouched: Ledger, changes: dict[str, object], allowed: bool) -> None:
    with undone(untouched) as connection:
        add_attempt(connection, "past", NOW - hours(900), "declined", **{"forbids_card": True, **changes})
        case = attempt_values("new", NOW) | {"plan_ends_at": NOW + hours(50)}
        found = caps.reached(connection, case, NOW)
        assert (found is None) == allowed
        if found is not None:
            assert (found.rule, found.subject, found.free_at) == ("card_forbidden", "card", NOW + hours(50))
        said = refusal(lambda: add_attempt(connection, "new", NOW))
        assert (said is None) == allowed
        assert said is None or "card may not be tried again" in said


def test_an_attempt_prepared_before_is_not_called_after(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        add_attempt(connection, "new", NOW)
        add_attempt(connection, "past", NOW - hours(1), "declined", forbids_card=True)
        said = refusal(lambda: move(connection, attempt, "new:1", "calling", NOW))
        assert "card may not be tried again" in (said or "")


def test_what_forbids_a_card_is_never_taken_back(untouched: Ledger) -> None:
    with undone(untouched) as connection:
        add_attempt(connection, "past", NOW, "declined", forbids_card=True)
        change = attempt.update().where(attempt.c.id == "past:1").values(forbids_card=False)
        assert "frozen" in (refusal(lambda: connection.execute(change)) or "")


@pytest.mark.parametrize(("outcome", "forbids"), [
    (Outcome("declined", "d", decline_code="lost_card"), True),
    (Outcome("declined", "d", decline_code="stolen_card"), True),
    (Outcome("declined", "d", decline_code="revocation_of_all_authorizations"), True),
    (Outcome("declined", "d", decline_code="do_not_try_again"), True),
    (Outcome("declined", "d", decline_code="insufficient_funds", advice_code="do_not_try_again"), True),
    (Outcome("declined", "d", decline_code="generic_decline", network_advice_code="03"), True),
    (Outcome("declined", "d", decline_code="insufficient_funds"), False),
    (Outcome("declined", "d", decline_code="expired_card"), False),
    (Outcome("declined", "d", decline_code="incorrect_cvc"), False),
    (Outcome("declined", "d", decline_code="authentication_required"), False),
])  # fmt: skip
def test_which_answers_forbid_a_card(outcome: Outcome, forbids: bool) -> None:
    assert outcome.forbids_card("mastercard", date(2026, 9, 1)) == forbids
