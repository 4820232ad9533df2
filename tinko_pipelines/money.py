"""Amounts of money: integer minor units with an ISO currency, never a float and never mixed.

Formatting for people belongs here; arithmetic on amounts is plain integer arithmetic within one currency.
"""

ZERO_DECIMAL_CURRENCIES = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
"""Currencies whose smallest unit is the whole one (source: Stripe's documentation of currencies).

Not ISK, HUF, TWD and UGX, whose amounts Stripe gives by the hundredth though nobody pays with such.
"""

THREE_DECIMAL_CURRENCIES = frozenset("bhd jod kwd omr tnd".split())
"""Currencies with a thousand minor units (source: Stripe's documentation of currencies)."""


def decimals(currency: str) -> int:
    """How many digits after the point this lower-case ISO currency has: 0, 2 or 3."""
    code = currency.lower()
    if code in ZERO_DECIMAL_CURRENCIES:
        return 0
    return 3 if code in THREE_DECIMAL_CURRENCIES else 2


def format_minor(amount_minor: int, currency: str) -> str:
    """An amount for a log or a table, exact: `123456, "usd"` becomes `1,234.56 USD`."""
    places = decimals(currency)
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**places)
    text = f"{whole:,}" + (f".{part:0{places}d}" if places else "")
    return f"{sign}{text} {currency.upper()}"
