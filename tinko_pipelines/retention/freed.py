"""What a store would free, or has freed, and the arithmetic of ages. Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

NEVER = (
    "cases, attempts and the history of both",
    "messages, apart from what they said",
    "links, payment pages, pauses and their history, anomalies, refusals",
    "attempts seen at the networks, since caps and excess fees are counted by them",
    "who was erased and who wants no mail",
    "the rows of the lake's tables",
    "the newest snapshot and the newest report, and files you exported",
)
"""What retention never removes, whatever the settings say."""


@dataclass(frozen=True, slots=True)
class Freed:
    """One store: what of it goes, by which setting (its variable and value), and how much: files, rows, bytes.

    `left` counts what is due and was left to the next run, since one run does only so much.
    """

    store: str
    setting: str
    files: int = 0
    rows: int = 0
    size_bytes: int = 0
    left: int = 0
    note: str = ""


def months_between(month: str, now: datetime) -> int:
    """How many whole months have passed since `YYYY-MM` ended; -1 in the month itself, 0 in the one after."""
    year, number = (int(part) for part in month.split("-"))
    return (now.year - year) * 12 + now.month - number - 1
