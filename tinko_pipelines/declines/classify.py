"""One decline to one verdict: what forbids first, then codes, then networks, then the text model, then `unknown`.

Never raises for what a decline holds. When to retry is not decided here, only whether that may be done at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol

from tinko_pipelines.declines.lookup import (
    UMBRELLA_CODES,
    advice_rules,
    any_other_rule,
    code_rules,
    debit_network,
    key_of,
    network_rule,
)
from tinko_pipelines.declines.records import (
    CATEGORIES,
    CATEGORY_MOVE,
    CUSTOMER_REASON,
    DECLINE_FIELDS,
    SOFT_CATEGORIES,
    Decline,
    Verdict,
    as_text,
)
from tinko_pipelines.declines.rules import Rule

WORD = re.compile(r"[^\W\d_]{3}")
NEVER_ADVICE = ("03", "21")
MENDABLE = frozenset(
    "authentication_required card_expired duplicate incorrect_details limit_exceeded merchant_config risk_blocked".split()
)
"""Refusals of one payment, or of the card as it was told to us; it may pass for another debt, or corrected."""


class Predictor(Protocol):
    """What the classifier needs of a text model."""

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        """Category and probability of each text."""
        ...


@dataclass(frozen=True, slots=True)
class _Reading:
    """A decline with every rule that was found for it: `base` names the category, without one `text` is to be read."""

    decline: Decline
    codes: list[Rule]
    network: Rule | None
    advice: list[Rule]
    base: Rule | None
    text: str

    @property
    def forbidding(self) -> Rule | None:
        found = (*self.codes, self.network, *self.advice)
        return next((rule for rule in found if rule is not None and rule.forbids), None)


def classify(decline: Decline, on: date, text_model: Predictor | None = None) -> Verdict:
    """The verdict on one decline by the rules valid on that day; unknown texts go to the model if there is one."""
    return classify_many([decline], on, text_model)[0]


def classify_many(
    declines: Iterable[Decline], on: date, text_model: Predictor | None = None
) -> list[Verdict]:
    """The verdict on each decline in turn; the text model is asked once for all of them."""
    readings = [_read(decline, on) for decline in declines]
    texts = list(dict.fromkeys(reading.text for reading in readings if reading.text))
    answers = dict(zip(texts, text_model.predict(texts), strict=True)) if text_model and texts else {}
    return [_conclude(reading, on, answers) for reading in readings]


def wording(code: str | None, message: str | None) -> str:
    """A code and a message as one text; a code without words is left out where there is a message."""
    spoken = code if code and (not message or WORD.search(code)) else ""
    return f"{spoken} {message or ''}".strip()


def _read(decline: Decline, on: date) -> _Reading:
    told = {name: value for name in DECLINE_FIELDS if (value := getattr(decline, name)) is not None}
    cleaned = {name: as_text(value) for name, value in told.items()}
    same = all(type(value) is str and value == cleaned[name] for name, value in told.items())
    clean = decline if same else Decline(**cleaned)
    codes, network, advice = code_rules(clean, on), network_rule(clean, on), advice_rules(clean, on)
    base = _base_rule(clean, codes, network, advice)
    unruled = base is None and _blocked(clean) is None
    return _Reading(clean, codes, network, advice, base, _text_of(clean) if unruled else "")


def _text_of(decline: Decline) -> str:
    code = next((text for text in (decline.code, decline.outcome_reason, decline.failure_code) if text), None)
    return wording(code, decline.message)


def _conclude(reading: _Reading, on: date, answers: Mapping[str, tuple[str, float]]) -> Verdict:
    if reading.base is not None:
        verdict = _verdict(reading.base)
    else:
        verdict = _blocked(reading.decline) or _from_text(reading.text, answers)
        other = any_other_rule(reading.decline, on) if verdict.category == "unknown" else None
        verdict = verdict if other is None else _verdict(other)
    forbidding = reading.forbidding
    if forbidding is not None:
        return _forbidden(verdict, forbidding)
    return _debit(_advised(verdict, reading.advice), reading.decline)


def never_again(decline: Decline, on: date) -> bool:
    """Whether a rule forbids to try the refused card again for the same debt as it is."""
    verdict = classify(decline, on)
    return verdict.source == "rule" and not verdict.retry_same_card


def forbids_card(decline: Decline, on: date) -> bool:
    """Whether a rule forbids to try the refused card again for whatever debt."""
    if not never_again(decline, on):
        return False
    advised = decline.advice_code == "do_not_try_again" or decline.network_advice_code in NEVER_ADVICE
    return advised or classify(decline, on).category not in MENDABLE


def _base_rule(decline: Decline, codes: list[Rule], network: Rule | None, advice: list[Rule]) -> Rule | None:
    """What names the category: a precise code, the network's code, the advice, an umbrella code."""
    specific = next((rule for rule in codes if rule.rule.removeprefix("code:") not in UMBRELLA_CODES), None)
    if specific is not None:
        return specific
    if network is not None:
        return network
    if key_of(decline.outcome_type or "") == "blocked":
        return None
    named = next((rule for rule in advice if rule.category), None)
    if named is not None:
        return named if named.move else replace(named, move=CATEGORY_MOVE[named.category], same_card="yes")
    return codes[0] if codes else None


def _forbidden(verdict: Verdict, rule: Rule) -> Verdict:
    category = rule.category or verdict.category
    return replace(
        verdict,
        category=category,
        move=rule.move,
        reason=rule.reason,
        rule=rule.rule,
        source="rule",
        confidence=1.0,
        retry_same_card=False,
        wait_hours=None,
        customer_reason=CUSTOMER_REASON.get(category, "another_method"),
    )


def _advised(verdict: Verdict, advice: list[Rule]) -> Verdict:
    for rule in advice:
        if rule.wait_hours is not None:
            verdict = replace(verdict, wait_hours=rule.wait_hours, reason=f"{verdict.reason} {rule.reason}")
        elif rule.same_card == "after_change" and verdict.retry_same_card:
            verdict = replace(
                verdict,
                move=rule.move,
                rule=rule.rule,
                source="rule",
                reason=f"{verdict.reason} {rule.reason}",
                retry_same_card=False,
            )
        elif not (rule.same_card or rule.category):  # It only tells more of the card.
            verdict = replace(verdict, reason=f"{verdict.reason} {rule.reason}")
    return verdict if verdict.retry_same_card else replace(verdict, wait_hours=None)


def _debit(verdict: Verdict, decline: Decline) -> Verdict:
    """A bank debit is never sent again by itself, whatever the code."""
    if debit_network(decline) is None or not verdict.retry_same_card:
        return verdict
    reason = f"{verdict.reason} Bank debits are not sent again without the customer."
    return replace(verdict, move="customer", retry_same_card=False, wait_hours=None, reason=reason)


def _blocked(decline: Decline) -> Verdict | None:
    kind = key_of(decline.outcome_type or "")
    if kind == "blocked":
        reason = "Stripe blocked the payment before the bank saw it."
        return Verdict("risk_blocked", "customer", reason, "outcome:blocked", "rule", 1.0, False)
    if kind == "invalid":
        reason = "Stripe refused the request as not valid; correct the set-up."
        return Verdict("merchant_config", "fix_config", reason, "outcome:invalid", "rule", 1.0, False)
    return None


def _from_text(text: str, answers: Mapping[str, tuple[str, float]]) -> Verdict:
    if not text:
        return Verdict(
            "unknown", "customer", "Nothing is known of this refusal.", "nothing", "default", 0.0, False
        )
    category, confidence = answers.get(text, ("unknown", 0.0))
    if category in CATEGORIES and category != "unknown":
        return Verdict(
            category,
            CATEGORY_MOVE.get(category, "customer"),
            "No rule knows this refusal; its wording is read this way by the text model.",
            "text_model",
            "model",
            confidence,
            category in SOFT_CATEGORIES,
            None,
            CUSTOMER_REASON.get(category, "another_method"),
        )
    reason = "No rule knows this refusal, and its wording is not clear enough."
    return Verdict("unknown", "customer", reason, "no_match", "default", 0.0, False)


def _verdict(rule: Rule) -> Verdict:
    neutral = CUSTOMER_REASON.get(rule.category, "another_method")
    return Verdict(
        rule.category, rule.move, rule.reason, rule.rule, "rule", 1.0, rule.same_card == "yes", None, neutral
    )
