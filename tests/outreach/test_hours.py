"""Reminders keep to a customer's day, wherever he lives and on the days the clocks are set."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinko_pipelines.outreach.hours import next_open, zones_for

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ZONES = sorted(
    name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "posix", "right"))
)
CHANGING = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Beirut",
)
moments = st.integers(0, 5 * 365 * 24 * 60).map(lambda n: datetime(2025, 1, 1, tzinfo=UTC) + n * MINUTE)


def is_open(at: datetime, zones: Sequence[ZoneInfo], weekends: bool) -> bool:
    local = [at.astimezone(zone) for zone in zones]
    return all(8 <= one.hour < 21 and (weekends or one.weekday() < 5) for one in local)


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(moment=moments, name=st.sampled_from(ZONES), weekends=st.booleans())
def test_it_is_inside_the_window_never_early_and_no_later_than_it_must_be(
    moment: datetime, name: str, weekends: bool
) -> None:
    zone = ZoneInfo(name)
    found = next_open(moment, (zone,), weekends=weekends)
    assert found >= moment
    assert is_open(found, (zone,), weekends)
    assert (found == moment) == is_open(moment, (zone,), weekends)
    if found > moment:
        assert not is_open(found - timedelta(microseconds=1), (zone,), weekends)
        assert found - moment <= (12 if weekends else 12 + 48) * HOUR
    assert next_open(found, (zone,), weekends=weekends) == found


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(moment=moments, country=st.sampled_from(["US", "CA", "RU", "BR", "AU", "ID", "MX", "PT", "ES"]))
def test_a_country_of_several_zones_is_written_to_when_it_is_day_in_all_of_them(
    moment: datetime, country: str
) -> None:
    zones = zones_for({"address": {"country": country}}, None, "UTC")
    assert len(zones) > 1
    found = next_open(moment, zones, weekends=True)
    assert is_open(found, zones, True)
    assert moment <= found <= moment + 24 * HOUR
    step = moment
    while step < found - 15 * MINUTE:
        assert not is_open(step, zones, True)
        step += 15 * MINUTE


def changes(zone: ZoneInfo, year: int) -> list[date]:
    """The days of that year on which the zone's clocks are set."""
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(364)]
    offset = [datetime(d.year, d.month, d.day, 12, tzinfo=zone).utcoffset() for d in days]
    return [days[n] for n in range(1, 364) if offset[n] != offset[n - 1]]


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("weekends", [True, False])
def test_both_days_on_which_clocks_are_set_have_their_window_at_the_wall_clocks_hours(
    name: str, weekends: bool
) -> None:
    zone = ZoneInfo(name)
    found = [day for year in (2026, 2027) for day in changes(zone, year)]
    assert len(found) >= 4
    for day in found:
        start = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC) - 4 * HOUR
        for minutes in range(0, 33 * 60, 10):
            moment = start + minutes * MINUTE
            opened = next_open(moment, (zone,), weekends=weekends)
            assert is_open(opened, (zone,), weekends)
            if opened > moment:
                assert opened.astimezone(zone).strftime("%H:%M") == "08:00"


@pytest.mark.parametrize(
    ("moment", "zone", "weekends", "found"),
    [
        # Germany, 29 March 2026: from two the clock goes to three; eight is two hours before ten UTC… it is at six.
        ("2026-03-29T02:00+00:00", "Europe/Berlin", True, "2026-03-29T06:00+00:00"),
        ("2026-03-28T02:00+00:00", "Europe/Berlin", True, "2026-03-28T07:00+00:00"),
        # 25 October 2026: three o'clock comes twice, and eight is at seven UTC again.
        ("2026-10-25T00:30+00:00", "Europe/Berlin", True, "2026-10-25T07:00+00:00"),
        ("2026-10-24T00:30+00:00", "Europe/Berlin", True, "2026-10-24T06:00+00:00"),
        # The last minute counts, the next does not.
        ("2026-10-25T19:59+00:00", "Europe/Berlin", True, "2026-10-25T19:59+00:00"),
        ("2026-10-25T20:00+00:00", "Europe/Berlin", True, "2026-10-26T07:00+00:00"),
        # Friday night waits for Monday where weekends are left out.
        ("2026-10-23T19:30+00:00", "Europe/Berlin", False, "2026-10-26T07:00+00:00"),
        ("2026-03-08T06:00+00:00", "America/New_York", True, "2026-03-08T12:00+00:00"),
        ("2026-11-01T05:00+00:00", "America/New_York", True, "2026-11-01T13:00+00:00"),
        # Samoa had no 30 December 2011.
        ("2011-12-30T09:00+00:00", "Pacific/Apia", True, "2011-12-30T18:00+00:00"),
    ],
)  # fmt: skip
def test_the_window_on_single_days(moment: str, zone: str, weekends: bool, found: str) -> None:
    opened = next_open(datetime.fromisoformat(moment), (ZoneInfo(zone),), weekends=weekends)
    assert opened == datetime.fromisoformat(found)


@pytest.mark.parametrize(
    ("customer", "card_country", "found"),
    [
        ({"address": {"country": "DE"}}, "US", {"Europe/Berlin", "Europe/Busingen"}),
        ({"address": {"country": "us", "state": " CA "}}, None, {"America/Los_Angeles"}),
        ({"address": {"country": "US", "state": "new york"}}, None, {"America/New_York"}),
        ({"address": {"country": "AU", "state": "QLD"}}, None, {"Australia/Brisbane"}),
        ({"address": {"country": None}, "shipping": {"address": {"country": "JP"}}}, "US", {"Asia/Tokyo"}),
        ({"address": None, "shipping": None}, "IN", {"Asia/Kolkata"}),
        ({"preferred_locales": ["de-AT"]}, None, {"Europe/Vienna"}),
        ({"preferred_locales": ["de", "fr_CH"]}, None, {"Europe/Zurich"}),
        ({"preferred_locales": ["zh-Hant-TW"]}, None, {"Asia/Taipei"}),
        ({"preferred_locales": ["de-AT"]}, "JP", {"Asia/Tokyo"}),
        ({"preferred_locales": ["en"]}, None, {"Europe/Lisbon"}),
        ({"address": {"country": "XX"}}, None, {"Europe/Lisbon"}),
        ({"address": {"country": "../"}}, None, {"Europe/Lisbon"}),
        ({"address": {"country": ["DE"]}}, None, {"Europe/Lisbon"}),
        ({}, None, {"Europe/Lisbon"}),
    ],
)  # fmt: skip
def test_where_a_customer_lives(
    customer: dict[str, object], card_country: str | None, found: set[str]
) -> None:
    assert {zone.key for zone in zones_for(customer, card_country, "Europe/Lisbon")} == found


def test_an_unknown_state_leaves_all_zones_of_its_country() -> None:
    unknown = {zone.key for zone in zones_for({"address": {"country": "US", "state": "??"}}, None, "UTC")}
    assert {"America/New_York", "Pacific/Honolulu"} <= unknown


def test_zones_that_are_never_awake_together_do_not_keep_a_mail_for_ever() -> None:
    apart = (ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago"), ZoneInfo("Africa/Lagos"))
    moment = datetime(2026, 9, 1, 3, 30, tzinfo=UTC)
    found = next_open(moment, apart, weekends=True)
    assert is_open(found, apart[:1], True)
    assert found - moment < 24 * HOUR
