"""One decline to one verdict: what forbids first, then codes, then networks, then the text model, then `unknown`.

Never raises for what a decline holds. When to retry is not decided here, only whether that may be done at all.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Protocol

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
from tinko_pipelines.declines.rules import Rule, code_spellings, decline_rules, network_rules, valid_on

UMBRELLA_CODES = frozenset({"card_declined", "generic_decline", "payment_method_provider_decline"})
DEBIT_NETWORKS = {
    "us_bank_account": "ach",
    "ach_debit": "ach",
    "sepa_debit": "sepa",
    "bacs_debit": "bacs",
    "au_becs_debit": "becs",
    "acss_debit": "acss",
}
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
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


def classify(decline: Decline, on: date, text_model: Predictor | None = None) -> Verdict:
    """The verdict on one decline by the rules valid on that day; unknown texts go to the model if there is one."""
    clean = Decline(**{name: as_text(getattr(decline, name)) for name in DECLINE_FIELDS})
    codes = _code_rules(clean, on)
    advice = _advice_rules(clean, on)
    network = _network_rule(clean, on)
    found = [rule for rule in (*codes, network, *advice) if rule is not None]
    base = _base_rule(clean, codes, network, advice)
    verdict = _blocked(clean) or _unruled(clean, on, text_model) if base is None else _verdict(base)
    forbidding = next((rule for rule in found if rule.forbids), None)
    if forbidding is not None:
        return _forbidden(verdict, forbidding)
    return _debit(_advised(verdict, advice), clean)


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


def _code_rules(decline: Decline, on: date) -> list[Rule]:
    """Rules of the three fields that may hold a code: hard ones first, umbrella codes last."""
    texts = [text for text in (decline.code, decline.outcome_reason, decline.failure_code) if text]
    rules = [rule for text in texts if (rule := valid_on(_rows_of_code(text), on))]
    return sorted(
        rules, key=lambda rule: (not rule.forbids, rule.rule.removeprefix("code:") in UMBRELLA_CODES)
    )


def _rows_of_code(text: str) -> tuple[Rule, ...] | None:
    """The rows of a decline code, or of the one that other gateways spell like this."""
    known, key = decline_rules(), _key(text)
    if key in known:
        return known[key]
    spelled = code_spellings()
    return known.get(spelled.get(key) or spelled.get(_key(CAMEL.sub("_", text))) or "")


def _network_rule(decline: Decline, on: date) -> Rule | None:
    code = (decline.network_decline_code or "").lower()
    if code.isdigit() and len(code) == 1 and _debit_network(decline) is None:
        code = f"0{code}"  # A number that lost its leading zero on the way through JSON.
    for network in (_debit_network(decline) or _key(decline.network or ""), "any"):
        rule = valid_on(network_rules().get((network, "decline", code)), on)
        if rule is not None:
            return rule
    return None


def _any_other(decline: Decline, on: date) -> Rule | None:
    """Visa's category 4: whatever code no other category names."""
    code = decline.network_decline_code or ""
    if (
        _key(decline.network or "") != "visa"
        or _debit_network(decline)
        or not (code.isalnum() and len(code) <= 2)
    ):
        return None
    return valid_on(network_rules().get(("visa", "decline", "*")), on)


def _advice_rules(decline: Decline, on: date) -> list[Rule]:
    keys = [("stripe", "advice", _key(decline.advice_code or ""))]
    if _key(decline.network or "mastercard") == "mastercard":
        code = (decline.network_advice_code or "").lower().removeprefix("mac").strip()
        keys.append(("mastercard", "advice", code.zfill(2)))
    rules = [rule for key in keys if (rule := valid_on(network_rules().get(key), on))]
    return sorted(rules, key=lambda rule: not rule.forbids)


def _base_rule(decline: Decline, codes: list[Rule], network: Rule | None, advice: list[Rule]) -> Rule | None:
    """What names the category: a precise code, the network's code, the advice, an umbrella code."""
    specific = next((rule for rule in codes if rule.rule.removeprefix("code:") not in UMBRELLA_CODES), None)
    if specific is not None:
        return specific
    if network is not None:
        return network
    if _key(decline.outcome_type or "") == "blocked":
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
    if _debit_network(decline) is None or not verdict.retry_same_card:
        return verdict
    reason = f"{verdict.reason} Bank debits are not sent again without the customer."
    return replace(verdict, move="customer", retry_same_card=False, wait_hours=None, reason=reason)


def _blocked(decline: Decline) -> Verdict | None:
    kind = _key(decline.outcome_type or "")
    if kind == "blocked":
        reason = "Stripe blocked the payment before the bank saw it."
        return Verdict("risk_blocked", "customer", reason, "outcome:blocked", "rule", 1.0, False)
    if kind == "invalid":
        reason = "Stripe refused the request as not valid; correct the set-up."
        return Verdict("merchant_config", "fix_config", reason, "outcome:invalid", "rule", 1.0, False)
    return None


def _unruled(decline: Decline, on: date, text_model: Predictor | None) -> Verdict:
    verdict = _from_text(decline, text_model)
    other = _any_other(decline, on) if verdict.category == "unknown" else None
    return verdict if other is None else _verdict(other)


def wording(decline: Decline) -> str:
    """What the text model reads: the code as far as it is made of words, and the message."""
    code = next((text for text in (decline.code, decline.outcome_reason, decline.failure_code) if text), "")
    spoken = code if not decline.message or WORD.search(code) else ""
    return f"{spoken} {decline.message or ''}".strip()


def _from_text(decline: Decline, text_model: Predictor | None) -> Verdict:
    text = wording(decline)
    if not text:
        return Verdict(
            "unknown", "customer", "Nothing is known of this refusal.", "nothing", "default", 0.0, False
        )
    if text_model is not None:
        category, confidence = text_model.predict([text])[0]
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


def _debit_network(decline: Decline) -> str | None:
    return DEBIT_NETWORKS.get(_key(decline.payment_method_type or ""))


def _key(text: str) -> str:
    return text.strip().lower().replace(" ", "_").replace("-", "_")
