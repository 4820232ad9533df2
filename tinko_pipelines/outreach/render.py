"""From a template's name and values to subject, HTML and text. Values are data: they never become code."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import FileSystemLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from tinko_pipelines.money import decimals

FOLDER = Path(__file__).parent / "templates"
FALLBACK_LOCALE = "en"


@dataclass(frozen=True, slots=True)
class Content:
    """A rendered mail: one line of subject, an HTML page with inlined styles, plain text; which of several subjects it has."""

    subject: str
    html: str
    text: str
    locale: str
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail is about. `amount_minor` is in minor units of `currency`; `link` is where to act; subjects are drawn by `message_id`."""

    template: str
    locale: str | None
    amount_minor: int
    currency: str
    failed_at: datetime
    name: str
    link: str
    merchant: str
    support: str
    address: str
    message_id: str = ""


def one_line(text: str) -> str:
    """`text` without line breaks and other control characters, so that no header can be smuggled in."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@cache
def texts() -> dict[str, dict[str, dict[str, str]]]:
    """All texts by locale, template and part."""
    loaded: dict[str, dict[str, dict[str, str]]] = json.loads((FOLDER / "texts.json").read_text("utf-8"))
    return loaded


@cache
def _environment(autoescape: bool) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _compiled(part: str) -> Template:
    return _environment(False).from_string(part)


def language(locale: str | None) -> str:
    """The language of ours that fits `locale` best: `de-AT` becomes `de`, what we lack becomes English."""
    short = (locale or FALLBACK_LOCALE).replace("_", "-").split("-")[0].lower()
    return short if short in texts() else FALLBACK_LOCALE


def render(letter: Letter) -> Content:
    """Render subject, HTML and text in the customer's language; raises KeyError for an unknown template."""
    import css_inline

    locale = language(letter.locale)
    parts = texts()[locale][letter.template]
    exact = Decimal(letter.amount_minor).scaleb(-decimals(letter.currency))
    amount = format_currency(exact, letter.currency.upper(), locale=locale)
    values: dict[str, Any] = {
        "amount": amount,
        "date": format_date(letter.failed_at, format="long", locale=locale),
        "name": one_line(letter.name),
        "merchant": letter.merchant,
        "support": letter.support,
        "address": letter.address,
        "link": letter.link,
        "locale": locale,
    }
    plain, rich = _environment(False), _environment(True)
    subject = one_line(_compiled(parts["subject"]).render(values))
    spoken = {key: _compiled(part).render(values) for key, part in parts.items()}
    text = plain.get_template("mail.txt.j2").render({**values, **spoken})
    html = rich.get_template("mail.html.j2").render({**values, **spoken, "subject": subject})
    inlined = css_inline.CSSInliner(load_remote_stylesheets=False).inline(html)
    return Content(subject, inlined, text, locale)
