"""A folder of pages that show every mail in every language, light and dark, wide and narrow. No network, no ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tinko_pipelines.declines.records import CATEGORIES
from tinko_pipelines.errors import InputError
from tinko_pipelines.outreach import languages
from tinko_pipelines.outreach.render import FOLDER, Card, Content, Letter, Owed, render
from tinko_pipelines.outreach.sequences import CARD_EXPIRING, MAILED_MOVES, Sequence, Sequences

if TYPE_CHECKING:
    from tinko_pipelines.settings import Settings

_DARK = "(prefers-color-scheme: dark)"
_SHADES = {"light": "not all", "dark": "all"}
"""A page that is always light or always dark, whatever the browser that shows it prefers."""
_CURRENCY = {"en": "usd", "hi": "inr", "ta": "inr"}


@dataclass(frozen=True, slots=True)
class Gallery:
    """Where it lies, how many mails it shows, which languages a speaker has yet to read, and what some lack."""

    index: Path
    mails: int
    machine_drafted: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]


def build(folder: Path, settings: "Settings", sequences: Sequences) -> Gallery:
    """Write the gallery into `folder`; raises InputError where that cannot be written."""
    pages = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    known, written = languages.languages(), 0
    try:
        for code in known:
            (folder / code).mkdir(parents=True, exist_ok=True)
            for template in languages.subjects():
                _write(folder / code, template, _shown(settings, code, template), pages)
                written += 1
        index = folder / "index.html"
        missing = {code: tuple(languages.missing(code)) for code in known if languages.missing(code)}
        page = pages.get_template("gallery.html.j2").render(
            languages=known,
            missing=missing,
            templates=list(languages.subjects()),
            rows=[(category, _of(sequences, category)) for category in CATEGORIES],
            sequences=sequences,
            merchant=settings.merchant_name,
        )
        index.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the gallery cannot be written into {folder}: {error.strerror}") from None
    drafted = tuple(code for code, language in known.items() if language.machine_drafted)
    return Gallery(index, written, drafted, missing)


def sample(settings: "Settings", locale: str, template: str, variant: str) -> Letter:
    """A letter as a customer of this merchant might get it."""
    failed_at, currency = datetime(2026, 9, 1, 9, tzinfo=UTC), _CURRENCY.get(locale, "eur")
    card = Card("visa", "4242", datetime(2026, 10, 1, tzinfo=UTC))
    debt = Owed(4990, currency, failed_at, number="ABCD-0042", open_days=14)
    return Letter(
        template=template,
        variant=variant,
        locale=locale,
        about=card if template == CARD_EXPIRING else debt,
        name="Alex",
        link="https://invoice.example.com/i/preview",
        merchant=settings.merchant_name,
        support=settings.support_email,
        address=settings.merchant_address,
        colour=settings.brand_colour,
        logo_url=settings.brand_logo_url,
    )


def _shown(settings: "Settings", locale: str, template: str) -> list[Content]:
    """The mail under each of its subjects; all but the subject is the same."""
    names = sorted(languages.subjects()[template], key=lambda name: (name != languages.FIRST_SUBJECT, name))
    return [render(sample(settings, locale, template, name)) for name in names]


def _write(folder: Path, template: str, shown: list[Content], pages: Environment) -> None:
    mail = shown[0]
    (folder / f"{template}.html").write_text(mail.html, encoding="utf-8")
    (folder / f"{template}.txt").write_text(mail.text, encoding="utf-8")
    for shade, query in _SHADES.items():
        page = mail.html.replace(_DARK, query)
        (folder / f"{template}.{shade}.html").write_text(page, encoding="utf-8")
    view = pages.get_template("shown.html.j2").render(
        template=template, folder=folder.name, shown=shown, mail=mail, shades=list(_SHADES)
    )
    (folder / f"{template}.shown.html").write_text(view, encoding="utf-8")


def _of(sequences: Sequences, category: str) -> list[tuple[str, Sequence]]:
    """The sequences of a category outside every segment, each with the moves it is for."""
    found: dict[str, tuple[list[str], Sequence]] = {}
    for move in MAILED_MOVES:
        row = {"category": category, "account_id": "", "currency": "", "amount_minor": 0}
        sequence = sequences.of(row, move)
        if sequence is not None:
            found.setdefault(sequence.name, ([], sequence))[0].append(move)
    return [(", ".join(moves), sequence) for moves, sequence in found.values()]
