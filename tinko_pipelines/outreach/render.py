"""From a template's name and values to subject, HTML and text. Values are data: they never become code."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel.dates import format_date, format_skeleton, format_timedelta
from babel.numbers import format_currency
from jinja2 import FileSystemLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from tinko_pipelines.money import decimals
from tinko_pipelines.outreach import languages
from tinko_pipelines.outreach.sequences import CARD_EXPIRING, RECEIPT

FOLDER = Path(__file__).parent / "templates"
LONGEST_NAME = 60
LAST_NOTICE = "last_notice"
_LAST4 = re.compile(r"[0-9]{4}")
_BRANDS = {
    "visa": "Visa", "mastercard": "Mastercard", "amex": "American Express", "discover": "Discover", "jcb": "JCB",
    "diners": "Diners Club", "unionpay": "UnionPay", "eftpos_au": "eftpos", "cartes_bancaires": "Cartes Bancaires",
}  # fmt: skip
"""What a card is called; of any other only the last digits are named."""
_JOINERS = "\u200c\u200d"
"""Invisible, and yet letters of Indic names are not written right without them."""
_NO_NAME = re.compile(r"[@/\\<>{}\[\]|=;:]|\w\.\w|\d{5}", re.UNICODE)
"""What stands in no person's name and may become a link, markup or a message of its own in some mail program."""


@dataclass(frozen=True, slots=True)
class Content:
    """A rendered mail: one line of subject, an HTML page with inlined styles, plain text, and the subject's name."""

    subject: str
    html: str
    text: str
    locale: str
    variant: str


@dataclass(frozen=True, slots=True)
class Owed:
    """A debt. `amount_minor` is in minor units of `currency`, `number` the invoice's, `open_days` since when it is owed."""

    amount_minor: int
    currency: str
    failed_at: datetime
    number: str | None = None
    open_days: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A card that ends with the month before `ends_at`; `brand` and `last4` are Stripe's words, or empty."""

    brand: str
    last4: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail is about: a debt, or a card. `link` is where to act, `variant` the name of a subject.

    `pixel_url` is a picture whose fetching tells that the mail was opened; None where that is not to be known.
    """

    template: str
    locale: str | None
    about: Owed | Card
    name: str
    link: str
    merchant: str
    support: str
    address: str
    variant: str = languages.FIRST_SUBJECT
    colour: str = "#1f5fd0"
    logo_url: str | None = None
    pixel_url: str | None = None


def one_line(text: str) -> str:
    """`text` without line breaks and other control characters, so that no header can be smuggled in."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())


def spoken_name(text: str) -> str:
    """The name to greet with; empty for what is no person's name, so that nobody writes to others through us."""
    name = one_line(text)
    return "" if len(name) > LONGEST_NAME or _NO_NAME.search(name) else name


@cache
def _environment(autoescape: bool) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _compiled(text: str) -> Template:
    return _environment(False).from_string(text)


@cache
def _inliner() -> Any:
    import css_inline

    return css_inline.CSSInliner(load_remote_stylesheets=False)


def render(letter: Letter) -> Content:
    """Render subject, HTML and text in the customer's language; raises KeyError for an unknown template."""
    chosen = languages.choose(letter.locale, letter.template, letter.variant)
    values = _values(letter, chosen.locale)
    said = _said(letter, chosen, values)
    subject = one_line(_compiled(chosen.wording.subjects[chosen.subject]).render(values))
    page = {**values, **said, "subject": subject, "ink": ink_on(letter.colour), "colour": letter.colour}
    page |= {"logo_url": letter.logo_url, "pixel_url": letter.pixel_url}
    text = _environment(False).get_template("mail.txt.j2").render(page)
    html = _inliner().inline(_environment(True).get_template("mail.html.j2").render(page))
    return Content(subject, html, text, chosen.locale, chosen.subject)


def _values(letter: Letter, locale: str) -> dict[str, Any]:
    """What a text may name."""
    about = letter.about
    return {
        **(_of_debt(about, locale) if isinstance(about, Owed) else _of_card(about, locale)),
        "name": spoken_name(letter.name),
        "merchant": one_line(letter.merchant),
        "support": letter.support,
        "address": letter.address,
        "link": letter.link,
        "locale": locale,
    }


def _of_debt(owed: Owed, locale: str) -> dict[str, str]:
    exact = Decimal(owed.amount_minor).scaleb(-decimals(owed.currency))
    return {
        "amount": one_line(format_currency(exact, owed.currency.upper(), locale=locale)),
        "date": format_date(owed.failed_at, format="long", locale=locale),
    }


def _of_card(card: Card, locale: str) -> dict[str, str]:
    brand = _BRANDS.get(card.brand, "")
    number = f"•••• {card.last4}" if _LAST4.fullmatch(card.last4) else ""
    last_day = card.ends_at - timedelta(days=1)
    return {
        "card": f"{brand} {number}".strip(),
        "until": one_line(format_skeleton("yMMMM", last_day, locale=locale)),
    }


def _facts(letter: Letter, chosen: languages.Chosen, values: dict[str, Any]) -> list[tuple[str, str]]:
    """The short table of what it is about."""
    shared, about = chosen.shared, letter.about
    if isinstance(about, Card):
        shown = [(shared.card_label, values["card"])] if values["card"] else []
        return [*shown, (shared.until_label, values["until"])]
    facts = [(shared.amount_label, values["amount"]), (shared.date_label, values["date"])]
    if about.number:
        facts.append((shared.number_label, one_line(about.number)[:LONGEST_NAME]))
    if letter.template == LAST_NOTICE:
        days = timedelta(days=max(1, about.open_days))
        # A threshold no number of days reaches keeps fourteen of them from becoming two weeks.
        spoken = format_timedelta(days, granularity="day", threshold=10_000, locale=chosen.locale)
        facts.append((shared.open_label, spoken))
    return facts


def _said(letter: Letter, chosen: languages.Chosen, values: dict[str, Any]) -> dict[str, Any]:
    """The texts with their values in place, and the short table of what it is about."""
    shared, wording = chosen.shared, chosen.wording
    whys = {RECEIPT: (shared.why_receipt, ""), CARD_EXPIRING: (shared.why_card, shared.meanwhile_card)}
    why, meanwhile = whys.get(letter.template, (shared.why, shared.meanwhile))
    texts = {
        "greeting": shared.greeting if values["name"] else shared.greeting_unnamed,
        "meanwhile": meanwhile,
        "why": why,
        "questions": shared.questions,
        "preheader": wording.preheader,
        "heading": wording.heading,
        "button": wording.button or "",
    }
    rendered: dict[str, Any] = {name: _compiled(text).render(values) for name, text in texts.items()}
    paragraphs = [_compiled(text).render(values) for text in wording.paragraphs]
    return {**rendered, "facts": _facts(letter, chosen, values), "paragraphs": paragraphs}


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a `#rrggbb`."""
    light = luminance(colour)
    return "#ffffff" if (1.05 / (light + 0.05)) >= ((light + 0.05) / 0.05) else "#000000"


def luminance(colour: str) -> float:
    """The relative luminance of a `#rrggbb`, by WCAG."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
