"""Texts: every template in every language says the same, names the same values, and never a reason."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tinko_pipelines import doctor
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.outreach import languages
from tinko_pipelines.outreach.languages import Wording, choose
from tinko_pipelines.outreach.preview import build
from tinko_pipelines.outreach.render import Card, Letter, Owed, ink_on, luminance, render
from tinko_pipelines.outreach.sequences import CARD_EXPIRING, default
from tinko_pipelines.settings import Settings

KNOWN = languages.languages()
EVERY = [(locale, template) for locale, one in KNOWN.items() for template in one.templates]
REASONS = (
    "lost stolen fraud block declin refus insufficient gestohlen verloren betrug gesperrt abgelehnt gedeckt volé perdu fraude"
    " bloqu rehus robad perdid roubad extravi चोरी धोखा अपर्याप्त திருட மோசடி"
).split()  # fmt: skip


def letter(template: str, locale: str | None, **changes: object) -> Letter:
    owed: dict[str, object] = {
        "amount_minor": 1250000,
        "currency": "eur",
        "failed_at": datetime(2026, 9, 1, tzinfo=UTC),
    }
    owed |= {name: changes.pop(name) for name in ("currency", "number", "open_days") if name in changes}
    card = Card("visa", "4242", datetime(2027, 1, 1, tzinfo=UTC))
    values: dict[str, object] = {
        "about": card if template == CARD_EXPIRING else Owed(**owed),  # type: ignore[arg-type]
        "name": "Ann",
        "link": "https://pay.example/x?a=1&b=2",
        "merchant": "Acme",
        "support": "help@acme.test",
        "address": "1 Road",
    }
    return Letter(template=template, locale=locale, **{**values, **changes})  # type: ignore[arg-type]


def said(wording: Wording) -> dict[str, str]:
    return {
        **{f"subject {name}": text for name, text in wording.subjects.items()},
        **{f"paragraph {number}": text for number, text in enumerate(wording.paragraphs)},
        "preheader": wording.preheader, "heading": wording.heading, "button": wording.button or "",
    }  # fmt: skip


@pytest.mark.parametrize(("locale", "template"), EVERY)
def test_every_text_renders(locale: str, template: str) -> None:
    for variant in languages.subjects()[template]:
        content = render(letter(template, locale, variant=variant))
        assert (content.locale, content.variant) == (locale, variant)
        assert f'<html lang="{locale}"' in content.html
        assert "{{" not in content.html + content.text + content.subject
        assert "Ann" in content.text
        assert "Acme" in content.subject
        assert 20 < len(content.subject) < 110
        for word in REASONS:
            assert word not in (content.text + content.subject).lower()
        linked = "https://pay.example/x?a=1&b=2" in content.text
        assert linked == (template != "receipt")


@pytest.mark.parametrize(("locale", "template"), EVERY)
def test_a_translation_names_the_values_that_english_names(locale: str, template: str) -> None:
    theirs, mine = said(KNOWN["en"].templates[template]), said(KNOWN[locale].templates[template])
    assert theirs.keys() == mine.keys()
    for part, text in theirs.items():
        named = sorted(set(re.findall(r"{{ (\w+) }}", text)))
        if part.startswith("paragraph"):
            assert sorted(set(re.findall(r"{{ (\w+) }}", mine[part]))) == named, part
        assert bool(text) == bool(mine[part]), part
        assert "{%" not in mine[part]


def test_the_shared_texts_name_what_english_names() -> None:
    for locale, one in KNOWN.items():
        for name in ("greeting", "greeting_unnamed", "why", "why_receipt", "questions", "meanwhile"):
            found = [
                sorted(re.findall(r"{{ (\w+) }}", getattr(each.shared, name))) for each in (KNOWN["en"], one)
            ]
            assert found[0] == found[1], (locale, name)


def test_who_has_read_what() -> None:
    drafted = {code for code, one in KNOWN.items() if one.machine_drafted}
    assert set(KNOWN) == {"en", "de", "fr", "es", "pt", "hi", "ta"}
    assert drafted == {"fr", "es", "pt", "hi", "ta"}
    assert [languages.missing(code) for code in KNOWN] == [[]] * 7


@pytest.mark.parametrize(
    ("locale", "found"),
    [
        ("de-AT", "de"),
        ("DE_de", "de"),
        ("pt-BR", "pt"),
        ("nl", "en"),
        ("", "en"),
        (None, "en"),
        ("../de", "en"),
    ],
)
def test_locales_fall_back(locale: str | None, found: str) -> None:
    assert render(letter("update_card", locale)).locale == found


@pytest.mark.parametrize(
    ("locale", "currency", "amount", "date", "days"),
    [
        ("en", "usd", "$12,500.00", "September 1, 2026", "14 days"),
        ("de", "eur", "12.500,00 €", "1. September 2026", "14 Tage"),
        ("fr", "eur", "12 500,00 €", "1 septembre 2026", "14 jours"),
        ("es", "eur", "12.500,00 €", "1 de septiembre de 2026", "14 días"),
        ("pt", "brl", "R$ 12.500,00", "1 de setembro de 2026", "14 dias"),
        ("hi", "inr", "₹12,500.00", "1 सितंबर 2026", "14 दिन"),
        ("ta", "inr", "₹12,500.00", "1 செப்டம்பர், 2026", "14 நாட்கள்"),
    ],
)  # fmt: skip
def test_money_dates_and_plurals_are_written_as_the_language_does(
    locale: str, currency: str, amount: str, date: str, days: str
) -> None:
    text = render(letter("last_notice", locale, currency=currency, open_days=14)).text
    plain = text.replace("\u202f", " ").replace("\xa0", " ")
    for one in (amount, date, days):
        assert one in plain
    single = render(letter("last_notice", locale, open_days=1)).text
    assert days not in single.replace("\xa0", " ")


def test_what_a_customer_typed_stays_text() -> None:
    content = render(
        letter("update_card", "en", name="<b>Ann</b>", number="{{ 7*7 }}<script>alert(1)</script>\r\nX: y")
    )
    assert "49" not in content.text
    assert "<script>" not in content.html
    assert "\r" not in content.subject


def test_a_currency_without_decimals() -> None:
    assert "¥1,250,000" in render(letter("update_card", "en", currency="jpy")).subject


def test_the_text_part_reads_from_top_to_bottom() -> None:
    assert render(letter("details", "en", number="A-1", variant="action")).text == (
        "Acme\n\nHello Ann,\n\n"
        "On September 1, 2026 we tried to collect €12,500.00 for Acme, but the payment was not completed.\n\n"
        "Please check that card number, expiry date and security code are still up to date, or use another card."
        " That is all there is to do.\n\n"
        "Amount: €12,500.00\nPayment of: September 1, 2026\nInvoice: A-1\n\n"
        "Update card details:\nhttps://pay.example/x?a=1&b=2\n\n"
        "If you have paid in the meantime, thank you; there is nothing left to do.\n\n"
        "-- \nYou receive this message because a payment to Acme is open.\nQuestions? Write to help@acme.test.\n"
        "Acme, 1 Road\n"
    )


@pytest.mark.parametrize(
    "colour", ["#1f5fd0", "#ffd400", "#000000", "#ffffff", "#777777", "#00a651", "#e4002b"]
)
def test_a_button_of_any_colour_can_be_read(colour: str) -> None:
    one, other = sorted((luminance(colour), luminance(ink_on(colour))))
    assert (other + 0.05) / (one + 0.05) >= 4.5
    page = render(letter("details", "en", colour=colour)).html
    assert f"background-color: {colour}" in page


def test_a_logo_is_shown_only_where_one_is_set_and_the_name_stands_in_for_it() -> None:
    assert "<img" not in render(letter("details", "en")).html
    page = render(letter("details", "en", logo_url="https://acme.test/logo.png")).html
    assert 'src="https://acme.test/logo.png"' in page
    assert 'alt="Acme"' in page


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The texts in a folder of one's own."""
    folder = tmp_path / "languages"
    shutil.copytree(languages.FOLDER, folder)
    monkeypatch.setattr(languages, "FOLDER", folder)
    languages.languages.cache_clear()
    yield folder
    languages.languages.cache_clear()


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    languages.languages.cache_clear()


def test_what_is_not_translated_is_english_as_a_whole_and_reported(copied: Path, tmp_path: Path) -> None:
    change(
        copied / "en.json",
        '"last_notice": {',
        '"brand_new": {"subjects": {"plain": "New at {{ merchant }}"},'
        ' "preheader": "", "heading": "New", "paragraphs": ["x"], "button": null}, "last_notice": {',
    )
    change(copied / "fr.json", '"reminder": "Rappel : vérifiez', '"old_reminder": "Rappel : vérifiez')
    assert languages.missing("fr") == ["details.reminder", "brand_new"]
    assert languages.missing("de") == ["brand_new"]
    chosen = choose("fr", "brand_new")
    assert (chosen.locale, chosen.shared.greeting_unnamed) == ("en", "Hello,")
    content = render(letter("details", "fr", variant="reminder"))
    assert (content.locale, content.variant) == ("fr", "plain")
    made = build(tmp_path / "gallery", Settings(), default())
    assert made.missing["fr"] == ("details.reminder", "brand_new")
    assert "in English, not translated" in made.index.read_text()
    told = [
        one.text
        for one in doctor.diagnose(Settings(state=tmp_path), gateways=list)
        if one.name == "languages"
    ]
    assert any(text.startswith("fr lacks details.reminder, brand_new") for text in told)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"machine_drafted": true', '"machine_drafted": "yes"', r"fr\.json .* Expected `bool`, got `str` - at `\$\.machine_drafted`"),
        ('"heading"', '"headline"', r"fr\.json .* unknown field `headline`"),
        ('"receipt": {', '"thanks": {', "fr.json: English has no template thanks"),
        ('"plain": "Merci', '"first": "Merci', "fr.json: template receipt has no subject named plain"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_used_are_refused_with_file_and_place(
    copied: Path, old: str, new: str, said: str
) -> None:
    change(copied / "fr.json", old, new)
    with pytest.raises(SettingsError, match=said):
        languages.languages()
