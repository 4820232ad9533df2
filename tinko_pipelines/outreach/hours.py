"""When in a customer's day a reminder may go out, and how his day is found from what is known of him."""

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

OPENS_AT, CLOSES_AT = time(8), time(21)
"""From eight to nine, local time: what debt collectors in the USA are held to by Regulation F."""
SATURDAY = 5
_MOST_DAYS = 10
_MOST_ROUNDS = 30
_STATES = Path(__file__).parent / "data" / "state_zones.csv"

Zones = Sequence[ZoneInfo]


def zones_for(customer: Mapping[str, Any], card_country: str | None, default: str) -> Zones:
    """Every zone the customer may live in, by the first of these that says: address, shipping address, card, language.

    A country of several zones counts as all of them unless its state is known. Nothing known means `default`.
    """
    for known in (customer.get("address"), (customer.get("shipping") or {}).get("address")):
        found = _of_place((known or {}).get("country"), (known or {}).get("state"))
        if found:
            return found
    found = _of_place(card_country, None)
    for locale in [] if found else customer.get("preferred_locales") or []:
        found = _of_place(_territory(locale), None)
        if found:
            break
    return found or (ZoneInfo(default),)


def next_open(moment: datetime, zones: Zones, *, weekends: bool) -> datetime:
    """The first moment from `moment` on that is inside the window in every zone; in the first zone if there is none."""
    at = moment
    for _ in range(_MOST_ROUNDS):
        later = max(_next_in(at, zone, weekends) for zone in zones)
        if later == at:
            return at
        at = later
    return _next_in(moment, zones[0], weekends)


def _next_in(moment: datetime, zone: ZoneInfo, weekends: bool) -> datetime:
    """The window of each day is made from its own wall clock, so a day of 23 or 25 hours has it where it belongs."""
    today = moment.astimezone(zone).date()
    for ahead in range(_MOST_DAYS):
        day = today + timedelta(days=ahead)
        opens, closes = (datetime.combine(day, edge, zone).astimezone(UTC) for edge in (OPENS_AT, CLOSES_AT))
        start = max(moment, opens)
        local_day = start.astimezone(zone).date()
        if start < closes and local_day == day and (weekends or day.weekday() < SATURDAY):
            return start
    raise AssertionError(f"no day of ten is open in {zone}")


def _territory(locale: Any) -> str | None:
    """`de-AT` lives in Austria; `de` alone may live anywhere."""
    parts = str(locale).replace("_", "-").split("-")
    return next((part for part in parts[1:] if len(part) == 2 and part.isalpha()), None)


def _of_place(country: Any, state: Any) -> tuple[ZoneInfo, ...]:
    if not isinstance(country, str) or len(country) != 2:
        return ()
    spelt = state.strip().lower() if isinstance(state, str) else ""
    return _states().get((country.upper(), spelt)) or _of_country(country.upper())


@cache
def _of_country(country: str) -> tuple[ZoneInfo, ...]:
    """The country's zones as CLDR lists them."""
    from babel.core import get_global

    return tuple(filter(None, map(_zone, get_global("territory_zones").get(country, ()))))


@cache
def _states() -> Mapping[tuple[str, str], tuple[ZoneInfo, ...]]:
    """Zones by country and state, the state's code or English name in small letters."""
    found: dict[tuple[str, str], tuple[ZoneInfo, ...]] = {}
    with _STATES.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            zones = tuple(ZoneInfo(name) for name in row["zones"].split())
            found[row["country"], row["state"].lower()] = zones
            found[row["country"], row["name"].lower()] = zones
    return found


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
