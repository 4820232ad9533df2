"""Who the customers are: country, language, card, plan. Pure functions of the seed and the person's number."""

from dataclasses import dataclass

from tinko_pipelines.sandbox.ports import CardTruth
from tinko_pipelines.sandbox.world.draw import DAY, name, pick, uniform
from tinko_pipelines.sandbox.world.issuers import FRESH

COUNTRIES = (
    (("US", "en-US", "usd"), 0.56),
    (("CA", "en-CA", "usd"), 0.06),
    (("GB", "en-GB", "gbp"), 0.12),
    (("DE", "de-DE", "eur"), 0.10),
    (("FR", "fr-FR", "eur"), 0.07),
    (("ES", "es-ES", "eur"), 0.04),
    (("NL", "nl-NL", "eur"), 0.03),
    (("JP", "ja-JP", "jpy"), 0.02),
)
CURRENCIES = ("usd", "eur", "gbp", "jpy")
FIRST_NAMES = "Ada Ben Cleo Dan Eva Finn Gia Hal Ida Jon Kim Leo Mia Noa Ola Pia Ron Sue Tom Una".split()
LAST_NAMES = "Abel Berg Cole Dahl Eder Fox Gray Hahn Ives Jung Kerr Lund Moss Nagy Orr Park".split()
BRANDS = (("visa", 0.59), ("mastercard", 0.32), ("amex", 0.06), ("discover", 0.03))
FUNDINGS = (("credit", 0.46), ("debit", 0.47), ("prepaid", 0.07))


@dataclass(frozen=True, slots=True)
class Plan:
    """Something one can subscribe to; prices in JPY are half as much again in number, since yen have no decimals."""

    nickname: str
    interval: str
    days: int
    unit_amount_minor: int
    weight: float

    def price_minor(self, currency: str) -> int:
        """The price in minor units of a currency."""
        return amount_in(self.unit_amount_minor, currency)


PLANS = (
    Plan("Basic monthly", "month", 30, 900, 0.40),
    Plan("Plus monthly", "month", 30, 1_900, 0.30),
    Plan("Team monthly", "month", 30, 4_900, 0.13),
    Plan("Box weekly", "week", 7, 700, 0.025),
    Plan("Basic yearly", "year", 365, 9_000, 0.10),
    Plan("Team yearly", "year", 365, 49_000, 0.045),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A customer as the merchant gets to know him, and his plan."""

    number: int
    email: str
    full_name: str
    country: str
    locale: str
    currency: str
    plan: int
    stripe_retries: bool


def person(seed: int, number: int) -> Person:
    """The person of that number."""
    country, locale, currency = pick(COUNTRIES, uniform(seed, "country", number))
    first = FIRST_NAMES[int(uniform(seed, "first", number) * len(FIRST_NAMES))]
    last = LAST_NAMES[int(uniform(seed, "last", number) * len(LAST_NAMES))]
    plans = tuple((index, plan.weight) for index, plan in enumerate(PLANS))
    return Person(
        number=number,
        email=f"{first}.{last}.{number}@example.com".lower(),
        full_name=f"{first} {last}",
        country=country,
        locale=locale,
        currency=currency,
        plan=pick(plans, uniform(seed, "plan", number)),
        stripe_retries=uniform(seed, "stripe-retries", number) < 0.15,
    )


def first_card(seed: int, who: Person) -> CardTruth:
    """The card a person signs up with; a very few run out in the summer and autumn of 2026."""
    return _card(seed, f"p{who.number}", who.country, uniform(seed, "expires", who.number) < 0.005)


def fresh_card(seed: int, country: str, *why: object) -> CardTruth:
    """A card in good order that replaces a broken one."""
    return _card(seed, FRESH + name(seed, *why), country, False)


def amount_in(usd_minor: int, currency: str) -> int:
    """About the same price in another currency's minor units, at prices merchants print."""
    return usd_minor if currency != "jpy" else usd_minor * 3 // 2


def one_off_amount_minor(seed: int, number: int, currency: str) -> int:
    """What a single order costs: from 5 to some hundreds, mostly small."""
    return amount_in(500 + 100 * int(4.0 / (0.01 + uniform(seed, "order", number)) ** 0.9), currency)


def _card(seed: int, key: str, country: str, runs_out: bool) -> CardTruth:
    brand = pick(BRANDS, uniform(seed, "brand", key))
    digits = int(uniform(seed, "digits", key) * 10_000)
    bank = int(uniform(seed, "bank", key) ** 1.6 * 9)
    spread = uniform(seed, "expiry", key)
    return CardTruth(
        key=key,
        brand=brand,
        network=brand,
        funding=pick(FUNDINGS, uniform(seed, "funding", key)),
        country=country,
        exp_month=5 + int(spread * 5) if runs_out else 1 + int(spread * 12),
        exp_year=2026 if runs_out else 2027 + int(uniform(seed, "year", key) * 4),
        fingerprint=name(seed, "fingerprint", key) + "fp",
        last4=f"{digits:04d}",
        issuer=f"{country.lower()}-bank-{bank}",
    )


PERIOD_SPREAD_DAYS = {"month": 30, "week": 7, "year": 118}
"""Over how many days from the start of history the customers of an interval are billed for the first time."""


def signup_at(seed: int, who: Person, begins_at: int, ends_at: int) -> int:
    """When a person is billed first: three of four were customers before history begins."""
    spread = PERIOD_SPREAD_DAYS[PLANS[who.plan].interval] * DAY
    if uniform(seed, "newcomer", who.number) < 0.25:
        spread = ends_at - begins_at
    return begins_at + int(uniform(seed, "signup", who.number) * min(spread, ends_at - begins_at))
