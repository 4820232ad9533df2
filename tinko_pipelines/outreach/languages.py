"""The texts of mails: one data file a language, checked when read. English is complete; what another lacks is its."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from tinko_pipelines.errors import SettingsError

FOLDER = Path(__file__).parent / "data" / "languages"
FALLBACK = "en"
FIRST_SUBJECT = "plain"
"""The subject every template has in every language."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One template in one language; `subjects` are its variants by name, `button` is None where nothing is to be done."""

    subjects: Mapping[str, str]
    preheader: str
    heading: str
    paragraphs: tuple[str, ...]
    button: str | None


class Shared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all mails of a language have in common."""

    greeting: str
    greeting_unnamed: str
    amount_label: str
    date_label: str
    number_label: str
    open_label: str
    meanwhile: str
    why: str
    why_receipt: str
    questions: str
    card_label: str
    until_label: str
    meanwhile_card: str
    why_card: str


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language: its own name, whether a speaker has yet to read it, and its texts."""

    name: str
    machine_drafted: bool
    shared: Shared
    templates: Mapping[str, Wording]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The texts a mail is written with: `locale` may be the fallback's, and so may the subject's name."""

    locale: str
    shared: Shared
    wording: Wording
    subject: str


@cache
def languages() -> Mapping[str, Language]:
    """Every language by its code; raises SettingsError naming file and place of what is wrong."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Language)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"the texts in {path} cannot be used: {error}") from None
    for code, language in found.items():
        _check(code, language, found[FALLBACK])
    return found


def _check(code: str, language: Language, english: Language) -> None:
    where = FOLDER / f"{code}.json"
    for name, wording in language.templates.items():
        if name not in english.templates:
            raise SettingsError(f"{where}: English has no template {name}")
        if FIRST_SUBJECT not in wording.subjects:
            raise SettingsError(f"{where}: template {name} has no subject named {FIRST_SUBJECT}")
        if not wording.paragraphs:
            raise SettingsError(f"{where}: template {name} has no paragraph")


def subjects() -> Mapping[str, frozenset[str]]:
    """The names of the subjects of each template, as English has them."""
    return {name: frozenset(one.subjects) for name, one in languages()[FALLBACK].templates.items()}


def language_of(locale: str | None) -> str:
    """The language of ours that fits `locale` best: `de-AT` becomes `de`, what we lack becomes English."""
    short = (locale or FALLBACK).replace("_", "-").split("-")[0].lower()
    return short if short in languages() else FALLBACK


def choose(locale: str | None, template: str, subject: str = FIRST_SUBJECT) -> Chosen:
    """The texts for a mail; a template its language lacks is English as a whole; raises KeyError for one English lacks."""
    code = language_of(locale)
    if template not in languages()[code].templates:
        code = FALLBACK
    language = languages()[code]
    wording = language.templates[template]
    named = subject if subject in wording.subjects else FIRST_SUBJECT
    return Chosen(code, language.shared, wording, named)


def missing(code: str) -> list[str]:
    """What English has and this language has not, as `template` or `template.subject`."""
    mine = languages()[code].templates
    found = []
    for name, wording in languages()[FALLBACK].templates.items():
        if name not in mine:
            found.append(name)
            continue
        found += [f"{name}.{one}" for one in wording.subjects if one not in mine[name].subjects]
    return found
