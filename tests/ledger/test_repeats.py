"""A call repeated under its key: when the database lets it, and from when on limits count it."""

from datetime import datetime
from typing import Any

import pytest

from tests.fake_stripe import NOW
from tests.ledger.rows import (
    add,
    add_attempt,
    add_case,
    add_rule,
    attempt_values,
    hours,
    move,
    refusal,
    undone,
)
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.schema import amount_ceiling, attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger

MINE = attempt.c.id == "a:1"


def repeat(at: datetime | None, **values: Any) -> Any:
    return attempt.update().where(MINE).values(repeated_at=at, **values)


@pytest.mark.parametrize(
    ("state", "moments", "refused"),
    [
        ("unknown", [0.1, 1, 19.999], False),
        ("unknown", [20], True),
        ("unknown", [-0.1], True),
        ("unknown", [2, 1], True),
        ("unknown", [2, None], True),
        ("calling", [1], True),
        ("prepared", [1], True),
        ("succeeded", [1], True),
        ("declined", [1], True),
    ],
)
def test_only_what_is_unknown_is_repeated_and_within_twenty_hours(
    ledger: Ledger, state: str, moments: list[float | None], refused: bool
) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "a", NOW, state)
        for moment in moments[:-1]:
            connection.execute(repeat(NOW + hours(moment or 0)))
    last = moments[-1]
    with undone(ledger) as connection:
        at = None if last is None else NOW + hours(last)
        said = refusal(lambda: connection.execute(repeat(at)))
    assert (said is not None and "repeated within 20 hours" in said) is refused


def test_no_call_is_repeated_while_charging_is_paused(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "a", NOW, "unknown")
    pause(ledger, "default", "incident", "me", NOW)
    with undone(ledger) as connection:
        said = refusal(lambda: connection.execute(repeat(NOW + hours(1))))
    assert said is not None
    assert "charging is paused" in said


def test_no_call_is_repeated_above_a_limit_that_others_have_used_up(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add_attempt(connection, "a", NOW, "unknown")
        add_attempt(connection, "b", NOW, "unknown")
        add_rule(connection, "fingerprint", 1, 24)
    with undone(ledger) as connection:
        said = refusal(lambda: connection.execute(repeat(NOW + hours(1))))
    assert said is not None
    assert "attempt cap reached" in said


def test_a_card_is_free_again_a_window_after_the_newest_call(ledger: Ledger) -> None:
    """In Python and in the database alike, to the second."""
    with ledger.write() as connection:
        add_rule(connection, "fingerprint", 1, 24)
        add_attempt(connection, "a", NOW, "unknown")
        connection.execute(repeat(NOW + hours(10)))
        add_case(connection, "b")
    for at, allowed in ((25, False), (33.999, False), (34, True)):
        moment = NOW + hours(at)
        values = attempt_values("b", moment)
        with undone(ledger) as connection:
            found = caps.reached(connection, values, moment)
            assert (found is None) is allowed
            assert found is None or found.free_at == NOW + hours(34)
            assert (refusal(lambda: add(connection, attempt, **values)) is None) is allowed  # noqa: B023


def test_the_ceiling_of_a_day_counts_the_newest_call(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add(connection, amount_ceiling, account_id="default", currency="usd", max_minor_per_day=1500)
        add_attempt(connection, "a", NOW, "unknown", card_fingerprint="other")
        connection.execute(repeat(NOW + hours(19)))
        add_case(connection, "b")
        add(connection, attempt, **attempt_values("b", NOW + hours(20), customer_id="cus_b"))
    for at, allowed in ((25, False), (42.999, False), (43, True)):
        moment = NOW + hours(at)
        with undone(ledger) as connection:
            found = caps.reached(connection, attempt_values("b", moment), moment, besides="b:1")
            assert (found is None) is allowed
            assert found is None or found.free_at == NOW + hours(43)
            assert (refusal(lambda: move(connection, attempt, "b:1", "calling", moment)) is None) is allowed  # noqa: B023
    with ledger.read() as connection:
        assert len(connection.execute(recovery_case.select()).all()) == 2
