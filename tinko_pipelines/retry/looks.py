"""When Stripe is asked again about an outcome that is open, and when a person is told. Pure: reads and stores nothing.

All by the time since the call, so that looks that webhooks ask for use up none.
"""

from datetime import datetime, timedelta

REPOST_HOURS = 20
"""Stripe may forget a key after 24 h: so long after the call it is not repeated, and what left no trace never ran."""
PERSON_HOURS = 23.75
"""An outcome that is unknown for so long goes to a person while it is still looked for: within a day of the call,
even where the look begins as late as the net of schedules allows."""
GIVE_UP_HOURS = {"unknown": PERSON_HOURS + 5 * 24, "processing": 120, "requires_action": 120}
"""So long after the call nobody looks any more by himself."""
FEWEST_LOOKS = 5
"""However late it is, so many looks are made first: there may have been nobody to look."""
PAGE_GRACE = timedelta(hours=1)
"""A page is left to its customer at least so long, even if a retry falls due meanwhile."""
PAGE_LONGEST = timedelta(hours=48)
"""One that is not over by then is a person's business, and looked at all the same."""
BANK_DEBIT = "bank_debit"
"""The answer of a page whose payment a bank takes days for."""
BANK_LONGEST = timedelta(days=21)
"""Stripe names 14 days at most."""
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_RARELY = timedelta(hours=6)
_MOST_STEPS = 20


def next_look(
    called_at: datetime, state: str, looks: int, at: datetime, wait_hours: float = 0.0
) -> datetime | None:
    """The look after the one at `at`, by when it has been open half as long again at most; None when there were enough.

    What a bank or the customer has to decide is looked for from an hour to a day later. What is unknown is looked
    for at once and within six hours, after the key's last hour within one, and once a person has it every day.
    """
    if given_up(called_at, state, looks, at):
        return None
    age = at - called_at
    soonest, latest = _bounds(state, age, looks)
    # By the looks too, so that a first one that comes late is soon followed by others.
    by_looks = soonest * 1.5 ** min(max(looks - 1, 0), _MOST_STEPS)
    wait: timedelta = min(max(min(age / 2, by_looks), soonest), latest)
    planned = at + max(wait, timedelta(hours=wait_hours))
    edges = (called_at + timedelta(hours=hours) for hours in (REPOST_HOURS, PERSON_HOURS))
    return min([planned, *(edge for edge in edges if edge > at)]) if state == "unknown" else planned


def next_look_at_page(
    called_at: datetime, state: str, looks: int, at: datetime, due_at: datetime | None, answer: str
) -> datetime:
    """When a page is looked at again: there is no end of it, since nothing else can free its debt."""
    if answer == BANK_DEBIT:
        return at + _RARELY
    if state == "requires_action":
        return _while_open(called_at, at, due_at)
    return next_look(called_at, state, looks, at) or at + _DAY


def is_overdue(called_at: datetime, answer: str, at: datetime) -> bool:
    """Whether a page should have come to its end by now."""
    return at - called_at > (BANK_LONGEST if answer == BANK_DEBIT else PAGE_LONGEST)


def _while_open(opened_at: datetime, at: datetime, due_at: datetime | None) -> datetime:
    """At the latest when a retry waits for its end."""
    wait = min(max((at - opened_at) / 2, 2 * _MINUTE), 30 * _MINUTE)
    edge = None if due_at is None else max(due_at, opened_at + PAGE_GRACE)
    return min(at + wait, edge) if edge is not None and edge > at else at + wait


def _bounds(state: str, age: timedelta, looks: int) -> tuple[timedelta, timedelta]:
    """The shortest and the longest wait."""
    if state != "unknown":
        return _HOUR, _DAY
    if age < timedelta(hours=REPOST_HOURS):
        return _MINUTE if looks else timedelta(), _RARELY
    return (_HOUR, _HOUR) if age < timedelta(hours=PERSON_HOURS) else (_DAY, _DAY)


def given_up(called_at: datetime, state: str, looks: int, at: datetime) -> bool:
    """Whether nobody looks any more by himself."""
    return looks >= FEWEST_LOOKS and at - called_at >= timedelta(hours=GIVE_UP_HOURS.get(state, 0))


def persons_business(called_at: datetime, state: str, at: datetime) -> bool:
    """Whether the outcome has been unknown for too long to be left to looking alone."""
    return state == "unknown" and at - called_at >= timedelta(hours=PERSON_HOURS)
