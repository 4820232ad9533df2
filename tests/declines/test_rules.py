"""Each rule of the shipped tables, by expectations that are kept apart from them in two files of this folder."""

from __future__ import annotations

import csv
import re
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tinko_pipelines.declines.classify import classify
from tinko_pipelines.declines.records import CATEGORIES, CUSTOMER_TEXT, MOVES, Decline, Verdict
from tinko_pipelines.declines.rules import code_spellings, decline_rules, network_rules

ON = date(2026, 11, 1)
DEBITS = {"ach": "us_bank_account", "sepa": "sepa_debit", "bacs": "bacs_debit"}
BESIDE = "insufficient_funds"
"""The decline code beside an advice that names no category of its own."""


def expected(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CODES = expected("expected_codes.csv")
RULES = expected("expected_rules.csv")


def decline_of(row: dict[str, str]) -> Decline:
    """The decline that the expected rule is about."""
    code = {"*": "Q1"}.get(row["code"], row["code"])
    if row["network"] == "stripe":
        return Decline(code=BESIDE, advice_code=code)
    if row["kind"] == "advice":
        beside = BESIDE if row["category"] == BESIDE else None
        return Decline(code=beside, network="mastercard", network_advice_code=code)
    network = {"any": "jcb"}.get(row["network"], row["network"])
    kind = DEBITS.get(row["network"], "card")
    return Decline(network=network, network_decline_code=code, payment_method_type=kind)


def agrees(verdict: Verdict, row: dict[str, str]) -> None:
    assert (verdict.category, verdict.move) == (row["category"], row["move"])
    assert verdict.retry_same_card == (row["retry_same_card"] == "yes")
    assert row["reason"] in verdict.reason
    assert verdict.source == "rule"


@pytest.mark.parametrize("row", CODES, ids=[row["code"] for row in CODES])
def test_each_code_has_its_category_move_and_reason(row: dict[str, str]) -> None:
    verdict = classify(Decline(code=row["code"]), ON)
    agrees(verdict, row)
    assert verdict.rule in (f"code:{row['code']}", "api_contention")


@pytest.mark.parametrize("row", RULES, ids=[f"{row['network']}-{row['code']}-{row['on']}" for row in RULES])
def test_each_network_rule_has_its_category_move_and_reason(row: dict[str, str]) -> None:
    verdict = classify(decline_of(row), date.fromisoformat(row["on"]))
    agrees(verdict, row)
    assert verdict.wait_hours == (float(row["wait_hours"]) if row["wait_hours"] else None)


def test_no_rule_is_without_an_expectation() -> None:
    assert {row["code"] for row in CODES} == set(decline_rules())
    known = {(row["network"], row["kind"], row["code"].lower()) for row in RULES}
    assert known == set(network_rules())
    assert len(RULES) == sum(len(rows) for rows in network_rules().values())


def test_dated_rows_of_a_code_neither_overlap_nor_end_before_they_begin() -> None:
    for rows in (*decline_rules().values(), *network_rules().values()):
        spans = sorted((row.valid_from, row.valid_until) for row in rows)
        assert all(first <= last for first, last in spans)
        assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_visa_57_changes_on_its_days() -> None:
    decline = Decline(network="visa", network_decline_code="57")
    day = timedelta(days=1)
    for first, retried in ((date(2025, 10, 1), True), (date(2026, 10, 25), False)):
        assert classify(decline, first).retry_same_card is retried
        assert classify(decline, first - day).retry_same_card is not retried


@pytest.mark.parametrize(
    ("category", "codes"),
    [
        (1, "04 07 12 14 15 41 43 46 57 R0 R1 R3"),
        (2, "03 19 51 59 61 62 65 75 78 83 86 91 93 96 N3 N4 5C 9G"),
        (3, "54 55 70 82 1A 6P N7"),
        (4, "05 Z5 99"),
    ],
)
def test_visas_four_categories_are_named_and_only_the_first_forbids(category: int, codes: str) -> None:
    for code in codes.split():
        assert (
            f"Visa category {category}"
            in classify(Decline(network="visa", network_decline_code=code), ON).reason
        )
        told = classify(Decline(code="do_not_honor", network="visa", network_decline_code=code), ON)
        assert told.retry_same_card is (category != 1)


def test_a_code_visa_does_not_name_gives_way_to_a_wording_that_is_read() -> None:
    class Reader:
        def predict(self, texts: list[str]) -> list[tuple[str, float]]:
            return [("suspected_fraud" if "scam" in text else "unknown", 0.9) for text in texts]

    read = classify(Decline(message="a scam", network="visa", network_decline_code="Q7"), ON, Reader())
    assert (read.category, read.source, read.retry_same_card) == ("suspected_fraud", "model", False)
    unread = classify(Decline(message="hm", network="visa", network_decline_code="Q7"), ON, Reader())
    assert (unread.category, unread.rule) == ("do_not_honor", "visa:decline:*")
    assert (
        classify(Decline(message="hm", network="amex", network_decline_code="Q7"), ON, Reader()).source
        == "default"
    )


@pytest.mark.parametrize("spelling", sorted(code_spellings()))
def test_other_spellings_stand_for_a_known_code(spelling: str) -> None:
    code = code_spellings()[spelling]
    assert spelling not in decline_rules()
    plain = classify(Decline(code=code), ON)
    camel = "".join(word.capitalize() for word in spelling.split("_"))
    for spelled in (spelling, spelling.upper(), spelling.replace("_", " ")):
        assert classify(Decline(code=spelled), ON) == plain
    if not re.search(r"\d", spelling):
        assert classify(Decline(code=camel), ON) == plain


def all_verdicts() -> list[Verdict]:
    """Every verdict the rules can give alone, and those of the text model for every category."""

    class Reader:
        def predict(self, texts: list[str]) -> list[tuple[str, float]]:
            return [(text, 0.9) for text in texts]

    found = [classify(Decline(code=row["code"]), ON) for row in CODES]
    found += [classify(decline_of(row), date.fromisoformat(row["on"])) for row in RULES]
    found += [classify(Decline(message=name), ON, Reader()) for name in CATEGORIES]
    found += [classify(Decline(outcome_type=kind), ON) for kind in ("blocked", "invalid", "manual_review")]
    return found


def test_every_verdict_names_its_rule_a_sentence_and_what_the_customer_may_be_told() -> None:
    verdicts = all_verdicts()
    assert {verdict.category for verdict in verdicts} == set(CATEGORIES)
    for verdict in verdicts:
        assert verdict.move in MOVES
        assert verdict.rule
        assert re.fullmatch(r"[A-Z].{15,}\.", verdict.reason)
        assert verdict.customer_text == CUSTOMER_TEXT[verdict.customer_reason]


def test_no_customer_is_told_of_loss_theft_or_fraud() -> None:
    for verdict in all_verdicts():
        told = f"{verdict.customer_reason} {verdict.customer_text}".lower()
        assert not re.search(r"lost|stol|theft|thief|fraud|suspect|security|block", told)
        if verdict.category in ("lost_or_stolen", "suspected_fraud", "risk_blocked"):
            assert verdict.customer_reason == "another_method"
