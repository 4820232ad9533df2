"""Which mails a case gets and after how many days: data, checked when read. At what hour is decided at the claim."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from tinko_pipelines.declines.records import CATEGORIES, MOVES
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.outreach import languages

DEFAULT_FILE = Path(__file__).parent / "data" / "sequences.json"
MAILED_MOVES = ("customer", "both", "wait_stripe", "retry")
"""Whose cases have mails at all; what is nobody's move or ours to repair has none."""
RECEIPT = "receipt"
CARD_EXPIRING = "card_expiring"
"""The one template about a card and not about a debt."""
MOST_STEPS = 12
MOST_DAYS = 60
_LATE = timedelta(days=2)
"""A failure found later than this is written about as if it were found then, so that no two mails come at once."""

Condition = Literal["always", "retries_ahead", "no_retries_ahead"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mail. Where `condition` does not hold when it is sent, `otherwise` is, or nothing."""

    after_days: float
    template: str
    subjects: tuple[str, ...] = (languages.FIRST_SUBJECT,)
    condition: Condition = "always"
    otherwise: str | None = None


class Sequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps for the cases that fit every list which is given; amounts, in minor units, need one currency."""

    name: str
    steps: tuple[Step, ...]
    counted_from: Literal["plan", "failure"]
    moves: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    currencies: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    amount_from_minor: int | None = None
    amount_below_minor: int | None = None

    def fits(self, row: Mapping[str, Any], move: str) -> bool:
        """Whether a failed payment with this move is meant."""
        locale = (row.get("preferred_locale") or "").replace("_", "-").lower()
        spoken = {locale, locale.split("-")[0]}
        amount = row["amount_minor"]
        return (
            (not self.moves or move in self.moves)
            and (not self.categories or row["category"] in self.categories)
            and (not self.accounts or row["account_id"] in self.accounts)
            and (not self.currencies or row["currency"] in self.currencies)
            and (not self.locales or any(one.lower() in spoken for one in self.locales))
            and (self.amount_from_minor is None or amount >= self.amount_from_minor)
            and (self.amount_below_minor is None or amount < self.amount_below_minor)
        )

    @property
    def is_segment(self) -> bool:
        """Whether it is for some accounts, currencies, languages or amounts only."""
        return bool(self.accounts or self.currencies or self.locales)

    def times(self, failed_at: datetime, now: datetime) -> list[datetime]:
        """When each step falls due for a case planned now."""
        start = now if self.counted_from == "plan" else max(failed_at, now - _LATE)
        return [start + timedelta(days=step.after_days) for step in self.steps]


class BeforeExpiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one mail before a card ends."""

    template: str
    subjects: tuple[str, ...] = (languages.FIRST_SUBJECT,)


class Sequences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sequences; the first that fits a case is its own. A plan names it with the file's `version`.

    Without `before_expiry` nobody is written to before a card ends.
    """

    version: str
    sequences: tuple[Sequence, ...]
    before_expiry: BeforeExpiry | None = None

    def of(self, row: Mapping[str, Any], move: str) -> Sequence | None:
        """The sequence of a failed payment; None where nobody is written to."""
        if move not in MAILED_MOVES:
            return None
        return next((one for one in self.sequences if one.fits(row, move)), None)

    def most_due(self, failed_at: datetime, until: datetime) -> int:
        """How many steps any sequence would have had due until then, had the case been planned at its failure."""
        return max(sum(at <= until for at in one.times(failed_at, failed_at)) for one in self.sequences)

    def step(self, plan: str, number: int) -> Step | None:
        """The step that a stored plan's mail is; None where its sequence is in the file no more."""
        name = (json.loads(plan).get("sequence") or "").partition("@")[0]
        steps = next((one.steps for one in self.sequences if one.name == name), ())
        return steps[number - 1] if 1 <= number <= len(steps) else None


def template_now(step: Step | None, planned: str, retries_ahead: bool) -> str | None:
    """The template to send for a message planned as `planned`; None when its condition holds no more."""
    if step is None or step.condition == "always" or step.template != planned:
        return planned
    if retries_ahead == (step.condition == "retries_ahead"):
        return planned
    return step.otherwise


def subject_for(step: Step | BeforeExpiry | None, template: str, message_id: str) -> str:
    """Which of the step's subjects this message has: always the same one, and each equally often."""
    if step is None or step.template != template:
        return languages.FIRST_SUBJECT
    place = int(hashlib.sha256(f"subject:{message_id}".encode()).hexdigest()[:8], 16)
    return step.subjects[place % len(step.subjects)]


def load(path: Path | None = None) -> Sequences:
    """The sequences of a file, ours if none is named; raises SettingsError that says what is wrong and where."""
    return default() if path is None else _read(path)


@cache
def default() -> Sequences:
    """The sequences that come with this version."""
    return _read(DEFAULT_FILE)


def _read(path: Path) -> Sequences:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Sequences)
    except OSError as error:
        raise SettingsError(f"the mail sequences {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the mail sequences {path} cannot be used: {error}") from None
    wrong = next(_mistakes(found), None)
    if wrong is not None:
        raise SettingsError(f"the mail sequences {path} cannot be used: {wrong}")
    return found


def _mistakes(found: Sequences) -> Iterator[str]:
    names = [one.name for one in found.sequences]
    yield from (f"two sequences are named {name}" for name in names if names.count(name) > 1)
    if found.before_expiry is not None:
        yield from (f"before_expiry: {wrong}" for wrong in _in_notice(found.before_expiry))
    for one in found.sequences:
        yield from (f"sequence {one.name}: {wrong}" for wrong in _in_choice(one))
        yield from (f"sequence {one.name}: {wrong}" for wrong in _in_steps(one))
    for category in CATEGORIES:
        for move in MAILED_MOVES:
            if not any(
                not one.is_segment
                and (not one.moves or move in one.moves)
                and (not one.categories or category in one.categories)
                for one in found.sequences
            ):
                yield f"nothing fits every case of category {category} with move {move}: end with one that does"


def _in_notice(one: BeforeExpiry) -> Iterator[str]:
    if one.template != CARD_EXPIRING:
        yield f"the template for cards is {CARD_EXPIRING}, not {one.template}"
    known = languages.subjects()[CARD_EXPIRING]
    unknown = [name for name in one.subjects if name not in known]
    if unknown or not one.subjects:
        yield f"it has the subjects {', '.join(sorted(known))}, not {', '.join(unknown) or 'none'}"


def _in_choice(one: Sequence) -> Iterator[str]:
    for what, given, known in (("move", one.moves, MOVES), ("category", one.categories, CATEGORIES)):
        yield from (f"{name} is no {what}" for name in given if name not in known)
    for code in one.currencies:
        if len(code) != 3 or not code.isalpha() or not code.islower():
            yield f"currency {code}: three small letters are wanted, like eur"
    low, high = one.amount_from_minor, one.amount_below_minor
    if (low is not None or high is not None) and len(one.currencies) != 1:
        yield "an amount says nothing without its currency: name exactly one in currencies"
    if low is not None and high is not None and low >= high:
        yield f"no amount is from {low} and below {high}"


def _in_steps(one: Sequence) -> Iterator[str]:
    known = languages.subjects()
    if not 1 <= len(one.steps) <= MOST_STEPS:
        yield f"1 to {MOST_STEPS} steps are wanted, it has {len(one.steps)}"
    last = -1.0
    for number, step in enumerate(one.steps, start=1):
        where = f"step {number}"
        if not last < step.after_days <= MOST_DAYS:
            yield f"{where}: after_days is {step.after_days:g}; more than the step before and at most {MOST_DAYS} are wanted"
        last = step.after_days
        for name in (step.template, *([step.otherwise] if step.otherwise else [])):
            if name not in known or name in (RECEIPT, CARD_EXPIRING):
                there_are = ", ".join(sorted(known.keys() - {RECEIPT, CARD_EXPIRING}))
                yield f"{where}: no template for reminders is named {name}; there are {there_are}"
        unknown = [name for name in step.subjects if name not in known.get(step.template, ())]
        if unknown or not step.subjects:
            yield f"{where}: template {step.template} has the subjects {', '.join(sorted(known.get(step.template, ())))}, not {', '.join(unknown) or 'none'}"
        if step.otherwise and step.condition == "always":
            yield f"{where}: otherwise is never used where the condition is always"
