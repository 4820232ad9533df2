"""Loads the dated rule tables shipped beside this module. Says what the rows are, never what follows from them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what a code means while it is valid. Empty `category`, `move` or `same_card` say nothing."""

    rule: str
    category: str
    move: str
    same_card: str
    reason: str
    wait_hours: float | None = None
    valid_from: date = date.min
    valid_until: date = date.max

    @property
    def forbids(self) -> bool:
        """Whether the same card may never be tried again."""
        return self.same_card == "never"


@cache
def decline_rules() -> dict[str, tuple[Rule, ...]]:
    """Decline code in lower case to its rows."""
    found: dict[str, tuple[Rule, ...]] = {}
    for row in _rows("decline_codes.csv"):
        found[row["code"]] = (*found.get(row["code"], ()), _rule(row, row["rule"]))
    return found


@cache
def code_spellings() -> dict[str, str]:
    """How other gateways spell a decline code, in lower case, to the decline code it stands for."""
    return {row["spelling"]: row["code"] for row in _rows("code_spellings.csv")}


@cache
def network_rules() -> dict[tuple[str, str, str], tuple[Rule, ...]]:
    """(network, 'decline' or 'advice', code) to its rows."""
    found: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
    for row in _rows("network_rules.csv"):
        key = (row["network"], row["kind"], row["code"].lower())
        found[key] = (*found.get(key, ()), _rule(row, f"{key[0]}:{key[1]}:{key[2]}"))
    return found


def valid_on(rules: tuple[Rule, ...] | None, on: date) -> Rule | None:
    """The row that holds on that day."""
    if rules is None:
        return None
    return next((rule for rule in rules if rule.valid_from <= on <= rule.valid_until), None)


def _rule(row: dict[str, str], name: str) -> Rule:
    return Rule(
        rule=name,
        category=row["category"],
        move=row["move"],
        same_card=row["same_card"],
        reason=row["reason"],
        wait_hours=float(row["wait_hours"]) if row.get("wait_hours") else None,
        valid_from=date.fromisoformat(row["valid_from"]) if row["valid_from"] else date.min,
        valid_until=date.fromisoformat(row["valid_until"]) if row["valid_until"] else date.max,
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("tinko_pipelines.declines").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
