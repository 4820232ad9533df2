"""Texts: every template in every language renders, escapes what customers typed, and never names a reason."""

from datetime import UTC, datetime

import pytest

from tinko_pipelines.outreach.render import Letter, render, texts

EVERY = [(locale, template) for locale, parts in texts().items() for template in parts]


def letter(template: str, locale: str | None, **changes: object) -> Letter:
    values: dict[str, object] = {
        "amount_minor": 1250000,
        "currency": "eur",
        "failed_at": datetime(2026, 9, 1, tzinfo=UTC),
        "name": "Ann",
        "link": "https://pay.example/x?a=1&b=2",
        "merchant": "Acme",
        "support": "help@acme.test",
        "address": "1 Road",
    }
    return Letter(template=template, locale=locale, **{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("locale", "template"), EVERY)
def test_every_text_renders(locale: str, template: str) -> None:
    content = render(letter(template, locale))
    assert content.locale == locale
    assert ("12.500,00" if locale == "de" else "12,500.00") in content.subject
    assert "https://pay.example/x?a=1&b=2" in content.text
    assert "{{" not in content.html + content.text
    for word in ("lost", "stolen", "fraud", "gestohlen", "verloren", "betrug"):
        assert word not in content.text.lower()


def test_locales_fall_back() -> None:
    assert render(letter("update_card", "de-AT")).locale == "de"
    assert render(letter("update_card", "ta")).locale == "en"
    assert render(letter("update_card", None)).locale == "en"


def test_what_a_customer_typed_stays_text() -> None:
    content = render(letter("update_card", "en", name="{{ 7*7 }}<script>alert(1)</script>\r\nX: y"))
    assert "49" not in content.text
    assert "<script>" not in content.html
    assert "\r" not in content.subject


def test_a_currency_without_decimals() -> None:
    assert "¥1,250,000" in render(letter("update_card", "en", currency="jpy")).subject
