"""The page behind a recovery link, as HTML: one template, texts as data, no script, nothing from elsewhere."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from tinko_pipelines.money import decimals
from tinko_pipelines.retry.later import Window

FOLDER = Path(__file__).parent / "templates"
FALLBACK = "en"
STYLE = (
    "body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:#f2f4f7;color:#1d2733}"
    "main{max-width:30rem;margin:2rem auto;padding:1.5rem;background:#fff;border-radius:.5rem}"
    ".merchant{font-weight:700}.amount{font-size:1.75rem;font-weight:700}h1{font-size:1.25rem}"
    "button{font:inherit;font-weight:700;padding:.75rem 1.25rem;border:2px solid #1f5fd0;border-radius:.4rem;"
    "background:#1f5fd0;color:#fff;cursor:pointer}button.plain{background:transparent;color:#1f5fd0}"
    "button:focus-visible,input:focus-visible,a:focus-visible{outline:3px solid #e0a000;outline-offset:2px}"
    "form{margin:1rem 0}label{display:block;margin-bottom:.5rem}input{font:inherit;padding:.6rem;margin:0 .5rem .5rem 0}"
    ".small{font-size:.875rem;color:#5b6775}"
    "@media(max-width:34rem){main{margin:0;border-radius:0}}"
    "@media(prefers-color-scheme:dark){body{background:#14181d;color:#e6eaef}main{background:#1f252c}"
    "button{background:#8ab0f5;border-color:#8ab0f5;color:#10151b}button.plain{color:#8ab0f5;background:transparent}"
    "a{color:#8ab0f5}.small{color:#a3afbc}}"
)
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Said:
    """What a page says (`what`, a name of the texts) and offers. `amount` is in minor units with its currency."""

    what: str
    locale: str | None
    merchant: str
    support: str
    token: str = ""
    up: str = ""
    amount: tuple[int, str] | None = None
    pay: bool = False
    again: bool = False
    card: bool = False
    back: bool = False
    days: Window | None = None
    day: date | None = None


@cache
def texts() -> dict[str, dict[str, Any]]:
    """All texts by language."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "recovery.json").read_text("utf-8"))
    return found


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def language(locale: str | None) -> str:
    """The language of ours that fits best; what we lack becomes English."""
    short = (locale or FALLBACK).replace("_", "-").split("-")[0].lower()
    return short if short in texts() else FALLBACK


def page(said: Said) -> str:
    """The whole page."""
    locale = language(said.locale)
    known = texts()[locale]
    values = {"merchant": said.merchant, "support": said.support, "day": _date(said.day, locale)}
    values |= {name: _date(getattr(said.days, name, None), locale) for name in ("first", "last")}
    plain = SandboxedEnvironment(autoescape=False, undefined=StrictUndefined)
    title, *lines = (plain.from_string(text).render(values) for text in known[said.what])
    pay = known["pay"] if said.pay else known["again"] if said.again else None
    return (
        _environment()
        .get_template("recovery.html.j2")
        .render(
            locale=locale,
            style=STYLE,
            merchant=said.merchant,
            title=title,
            lines=lines,
            amount=_money(said.amount, locale),
            token=said.token,
            up=said.up,
            pay=pay,
            card=known["card"] if said.card else None,
            days=said.days if said.pay else None,
            later=known["later"],
            later_button=known["later_button"],
            back=known["go_back"] if said.back else None,
            help=plain.from_string(known["help"]).render(values),
        )
    )


def _money(amount: tuple[int, str] | None, locale: str) -> str | None:
    if amount is None:
        return None
    exact = Decimal(amount[0]).scaleb(-decimals(amount[1]))
    return str(format_currency(exact, amount[1].upper(), locale=locale))


def _date(day: date | None, locale: str) -> str:
    return "" if day is None else str(format_date(day, format="long", locale=locale))
