"""How the report names things and writes numbers, for people. The terms themselves are those of the marts."""

from datetime import date, datetime

from tinko_pipelines.money import decimals, format_minor
from tinko_pipelines.reports.metrics import Metric

REASONS = {
    "own_retry": ("Our retry", "an attempt of ours succeeded"),
    "after_mail": (
        "After our mail",
        "paid within 14 days after a mail of ours, neither our retry nor Stripe's",
    ),
    "stripe_retry": ("Stripe's retry", "paid within 2 hours after a retry that Stripe had announced"),
    "customer": ("Customer", "paid by the customer with none of the above"),
    "other": ("Another payment", "paid by another payment of the same customer"),
}
MOVES = {
    "retry": "we retry",
    "customer": "customer acts",
    "both": "we retry, customer acts",
    "stop": "nobody: stop",
    "wait_stripe": "Stripe retries",
    "fix_config": "we repair",
}
CATEGORIES = {
    "card_expired": "Card expired",
    "do_not_honor": "Refused without a reason",
    "lost_or_stolen": "Card lost or stolen",
    "authentication_required": "Needs authentication",
    "merchant_config": "Our configuration",
    "risk_blocked": "Blocked as risky",
    "customer_abandoned": "Customer gave up",
    "duplicate": "Duplicate payment",
    "unknown": "No known reason",
}
"""Where the category's own name, with spaces, would not do."""
NONE = "–"
WEEKDAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 7: "Sun"}
THIN = 30
"""A share of fewer is shown as thin: it may well be eighteen points off."""


def category(name: str) -> str:
    """A category in plain words."""
    return CATEGORIES.get(name, name.replace("_", " ").capitalize())


def percent(share: float | None) -> str:
    """`0.4123` as `41.2%`; a dash where there is no denominator."""
    return NONE if share is None else f"{share:.1%}"


def count(number: int) -> str:
    """A count with thousands apart."""
    return f"{number:,}"


def of(part: int, whole: int) -> str:
    """A numerator with its denominator."""
    return f"{part:,} of {whole:,}"


def times(value: float | None) -> str:
    """A figure per recovery, with two digits."""
    return NONE if value is None else f"{value:.2f}"


def money(amount_minor: int, currency: str) -> str:
    """An exact amount with its currency."""
    return format_minor(amount_minor, currency)


def short_money(amount_minor: float, currency: str) -> str:
    """An amount for the tick of an axis: whole units, thousands as k, millions as M."""
    units = amount_minor / 10 ** decimals(currency)
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if units >= size:
            return f"{units / size:g}{letter}"
    return f"{units:g}"


def day(moment: date | datetime) -> str:
    """`24 Nov 2026`."""
    return f"{moment.day} {moment:%b %Y}"


def short_day(moment: date) -> str:
    """`24 Nov`."""
    return f"{moment.day} {moment:%b}"


def month(moment: date) -> str:
    """`November 2026`."""
    return f"{moment:%B %Y}"


def nth(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def points(difference: float | None) -> str:
    """A difference of two shares: `0.031` as `+3.1 points`."""
    if difference is None:
        return NONE
    return f"{difference * 100:+.1f} points".replace("-", "\N{MINUS SIGN}")


def amount_of(part_minor: int, whole_minor: int, currency: str) -> str:
    """An amount with the amount it is a part of; the currency once."""
    part = money(part_minor, currency).rsplit(" ", 1)[0]
    return f"{part} of {money(whole_minor, currency)}"


def value(metric: Metric, number: float | None, currency: str | None) -> str:
    """A metric's value as it wants to be written: a count, an amount, a share, or a figure per recovery."""
    if number is None:
        return NONE
    if metric.numerator is None:
        return count(int(number)) if currency is None else money(int(number), currency)
    return times(number) if metric.unit == "times" else percent(number)


def parts(metric: Metric, part: int | None, whole: int | None, currency: str | None) -> str:
    """The numerator and the denominator of a metric that is a quotient; empty for one that is a sum."""
    if part is None or whole is None:
        return ""
    return of(part, whole) if currency is None else amount_of(part, whole, currency)


def template(name: str) -> str:
    """The name of a mail in plain words."""
    return name.replace("_", " ").capitalize()
