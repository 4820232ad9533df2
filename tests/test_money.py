"""Money: exact formatting by the currency's own decimals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinko_pipelines.money import decimals, format_minor


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (123456, "usd", "1,234.56 USD"),
        (5, "eur", "0.05 EUR"),
        (-5, "eur", "-0.05 EUR"),
        (1234567, "jpy", "1,234,567 JPY"),
        (1234567, "kwd", "1,234.567 KWD"),
        (0, "gbp", "0.00 GBP"),
    ],
)
def test_format(amount_minor: int, currency: str, text: str) -> None:
    assert format_minor(amount_minor, currency) == text


@given(st.integers(-(10**15), 10**15), st.sampled_from(["usd", "jpy", "kwd"]))
def test_nothing_is_lost(amount_minor: int, currency: str) -> None:
    number = format_minor(amount_minor, currency).split()[0].replace(",", "").replace(".", "")
    assert int(number) == amount_minor
    assert decimals(currency) in {0, 2, 3}
