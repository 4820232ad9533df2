"""The card networks' published caps and fees as dated data. What single codes forbid is the business of `declines`."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from typing import Any

from tinko_pipelines.errors import InputError

NETWORKS = ("visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay")
_KEYS = ("fingerprint", "fingerprint_amount")


@dataclass(frozen=True, slots=True)
class CapRule:
    """At most `max_attempts` in any window of `window_hours`, from `valid_from` until before `valid_until`.

    `excess_fee_minor` is what the network takes for each attempt above it.
    """

    rule: str
    network: str
    keyed_by: str
    max_attempts: int
    window_hours: int
    valid_from: datetime
    valid_until: datetime | None = None
    excess_fee_minor: int | None = None
    fee_currency: str | None = None


@cache
def published() -> tuple[CapRule, ...]:
    """The caps shipped with this package."""
    path = resources.files("tinko_pipelines.ledger").joinpath("data", "network_caps.csv")
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(content: str, name: str) -> tuple[CapRule, ...]:
    """Read and check every row; raises InputError naming line and column of the first mistake."""
    reader = csv.DictReader(content.splitlines(), strict=True)
    missing = set(_COLUMNS) - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{name}, line 1: column {min(missing)} is missing; add it to the header")
    found: list[CapRule] = []
    for row in reader:
        rule = _rule(row, f"{name}, line {reader.line_num}")
        for other in found:
            if other.rule == rule.rule and _overlap(other, rule):
                raise InputError(
                    f"{name}, line {reader.line_num}, column valid_from: {rule.rule} holds twice on that day;"
                    " let the earlier row end the day before"
                )
        found.append(rule)
    return tuple(found)


def _rule(row: dict[str, Any], where: str) -> CapRule:
    values: dict[str, Any] = {}
    for column, (check, wanted) in _COLUMNS.items():
        given = (row[column] or "").strip()
        try:
            values[column] = check(given)
        except ValueError:
            raise InputError(f"{where}, column {column}: {given!r} is not {wanted}") from None
    last: date | None = values["valid_until"]
    if last is not None and last < values["valid_from"]:
        raise InputError(f"{where}, column valid_until: {last} lies before valid_from; swap or correct them")
    if (values["excess_fee_minor"] is None) != (values["fee_currency"] is None):
        raise InputError(f"{where}, column fee_currency: a fee needs a currency, and a currency a fee")
    del values["meaning"], values["source"]
    values["valid_from"] = _midnight(values["valid_from"])
    values["valid_until"] = _midnight(last + timedelta(days=1)) if last else None
    return CapRule(**values)


def _overlap(one: CapRule, other: CapRule) -> bool:
    first, second = sorted((one, other), key=lambda rule: rule.valid_from)
    return first.valid_until is None or first.valid_until > second.valid_from


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(given: str) -> str:
        if given not in allowed:
            raise ValueError
        return given

    return check


def _some_text(given: str) -> str:
    if not given:
        raise ValueError
    return given


def _number(least: int) -> Callable[[str], int]:
    def check(given: str) -> int:
        if not (given.isascii() and given.isdecimal()) or int(given) < least:
            raise ValueError
        return int(given)

    return check


def _currency(given: str) -> str:
    if not (len(given) == 3 and given.isascii() and given.isalpha() and given.islower()):
        raise ValueError
    return given


def _or_none(check: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda given: check(given) if given else None


_COLUMNS: dict[str, tuple[Callable[[str], Any], str]] = {
    "rule": (_some_text, "a name; give the rule one"),
    "network": (_one_of(*NETWORKS), f"a network; write one of {', '.join(NETWORKS)}"),
    "keyed_by": (_one_of(*_KEYS), f"what caps are counted by; write one of {', '.join(_KEYS)}"),
    "max_attempts": (_number(0), "a number of attempts; write 0 or more"),
    "window_hours": (_number(1), "a number of hours; write 1 or more"),
    "valid_from": (date.fromisoformat, "a day; write it as 2026-01-31"),
    "valid_until": (_or_none(date.fromisoformat), "a day; write the last day as 2026-01-31, or nothing"),
    "excess_fee_minor": (_or_none(_number(0)), "an amount; write minor units, or nothing"),
    "fee_currency": (_or_none(_currency), "a currency; write it as usd, or nothing"),
    "meaning": (_some_text, "a text; say what is counted"),
    "source": (_some_text, "a source; name where it is published"),
}
