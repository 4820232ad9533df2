"""When an open outcome is looked at again, whatever had it looked at meanwhile."""

from datetime import timedelta
from itertools import pairwise

import pytest

from tests.fake_stripe import NOW
from tinko_pipelines.retry import looks

HOUR = timedelta(hours=1)


def all_looks(state: str, late: timedelta = timedelta()) -> list[float]:
    """The hours after the call of every look that finds nothing, each begun `late`."""
    at, found = NOW, []
    for number in range(100):
        found.append((at - NOW) / HOUR)
        planned = looks.next_look(NOW, state, number, at)
        if planned is None:
            return found
        at = planned + late
    raise AssertionError("it is looked at for ever")


def test_what_is_unknown_is_looked_at_soon_and_a_person_has_it_within_a_day() -> None:
    ages = all_looks("unknown")
    assert [round(age * 60, 2) for age in ages[:7]] == [0, 0, 1, 2, 3, 4.5, 6.75]
    assert sum(age <= 0.25 for age in ages) == 8
    assert all(later - age <= 6 for age, later in pairwise(ages) if age < 20)
    assert [age for age in ages if age >= 20] == [
        20,
        21,
        22,
        23,
        23.75,
        *(23.75 + 24 * day for day in range(1, 6)),
    ]
    told = [age for age in ages if looks.persons_business(NOW, "unknown", NOW + age * HOUR)]
    assert told[0] == 23.75


@pytest.mark.parametrize("minutes", [1, 15])
def test_looks_that_begin_late_are_soon_enough_all_the_same(minutes: int) -> None:
    late = timedelta(minutes=minutes)
    ages = all_looks("unknown", late)
    first = next(age for age in ages if looks.persons_business(NOW, "unknown", NOW + age * HOUR))
    assert first <= 24
    before = [age for age in ages if age < 20]
    assert len([age for age in ages if age > first]) <= 5
    assert len(before) < 25


def test_a_first_look_that_comes_late_is_soon_followed_by_others() -> None:
    """A process that fell asleep within its call leaves an outcome that is unknown for long already."""
    at, waits = NOW + timedelta(minutes=10), []
    for number in range(4):
        planned = looks.next_look(NOW, "unknown", number, at)
        assert planned is not None
        waits.append((planned - at) / timedelta(minutes=1))
        at = planned
    assert waits == [0, 1, 1.5, 2.25]


def test_looks_that_webhooks_asked_for_put_the_next_one_off_by_no_more_than_its_age() -> None:
    at = NOW + timedelta(minutes=3)
    assert looks.next_look(NOW, "unknown", 30, at) == NOW + timedelta(minutes=4.5)


@pytest.mark.parametrize("state", ["processing", "requires_action"])
def test_what_others_decide_is_looked_at_from_hour_to_day(state: str) -> None:
    ages = all_looks(state)
    waits = [later - age for age, later in pairwise(ages)]
    assert (min(waits), max(waits), waits) == (1, 24, sorted(waits))
    assert 120 <= ages[-1] <= 144
    assert not looks.persons_business(NOW, state, NOW + 100 * HOUR)


def test_after_a_long_standstill_it_is_looked_at_before_it_is_given_up() -> None:
    late, number = NOW + 400 * HOUR, 0
    while (planned := looks.next_look(NOW, "unknown", number, late)) is not None:
        assert planned - late == timedelta(days=1)
        late, number = planned, number + 1
    assert number == looks.FEWEST_LOOKS


def test_as_long_as_stripe_asks_for_nothing_is_asked() -> None:
    assert looks.next_look(NOW, "unknown", 0, NOW, wait_hours=3) == NOW + 3 * HOUR
    assert looks.next_look(NOW, "unknown", 0, NOW, wait_hours=30) == NOW + 20 * HOUR
