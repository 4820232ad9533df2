"""Ranges of time that are read from their newest end and shared between readers: nothing is left out."""

from hypothesis import given
from hypothesis import strategies as st

from tinko_pipelines.lake.ranges import PAGE_SIZE, Place, Range, from_told, largest

START = 1_788_000_000


def read_page(times: list[int], asked: Range) -> tuple[list[int], Place | None, bool]:
    """What a list would show: `times` are those of its objects, whose ids are their places."""
    order = sorted(range(len(times)), key=lambda n: (-times[n], -n))
    fitting = [n for n in order if asked.gte <= times[n] < asked.lt]
    if asked.after is not None:
        at = order.index(int(asked.after))
        fitting = [n for n in fitting if order.index(n) > at]
    page = fitting[:PAGE_SIZE]
    if not page:
        return [], None, False
    place = Place(str(page[-1]), times[page[0]], times[page[-1]], len(page))
    return page, place, len(fitting) > len(page)


@given(
    st.lists(st.integers(START, START + 5_000), max_size=900),
    st.lists(st.integers(0, 9), max_size=60),
)
def test_however_it_is_shared_everything_is_read_once_at_least(times: list[int], choices: list[int]) -> None:
    ranges, found = [Range("charges", START, START + 5_001)], set[int]()
    for choice in [*choices, *[0] * 200]:
        if not ranges:
            break
        one = ranges[choice % len(ranges)]
        if choice > 6 and (shared := largest(ranges)) is not None and (older := shared.split()) is not None:
            ranges.append(from_told(older.told()))
            continue
        page, place, more = read_page(times, one)
        found |= set(page)
        if not one.advance(place, more):
            ranges.remove(one)
    assert not ranges
    assert found == set(range(len(times)))


def test_a_cursor_that_is_gone_is_replaced_by_its_second() -> None:
    one = Range("charges", START, START + 1_000)
    one.advance(Place("ch_9", START + 900, START + 400, 100), True)
    again = one.reopened()
    assert (again.after, again.gte, again.lt) == (None, START, START + 401)


def test_what_is_small_or_not_yet_looked_at_is_not_shared() -> None:
    fresh = Range("charges", START, START + 1_000)
    assert fresh.split() is None
    assert largest([fresh]) is None
    fresh.advance(Place("ch_1", START + 999, START + 700, 100), True)
    assert fresh.pages_left < 3
    assert fresh.split() is None


def test_a_list_without_times_is_never_shared() -> None:
    cards = Range("payment_methods", 0, START, listed_by_time=False)
    assert cards.advance(Place("pm_9", START, START - 10, 100), True)
    assert cards.split() is None
    assert not cards.advance(Place("pm_1", 5, 1, 100), False)
