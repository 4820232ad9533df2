"""Finds the rules that hold for a decline in the dated tables. What follows from them is decided in `classify`."""

from __future__ import annotations

import re
from datetime import date

from tinko_pipelines.declines.records import Decline
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
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def code_rules(decline: Decline, on: date) -> list[Rule]:
    """Rules of the three fields that may hold a code: hard ones first, umbrella codes last."""
    texts = [text for text in (decline.code, decline.outcome_reason, decline.failure_code) if text]
    rules = [rule for text in texts if (rule := valid_on(_rows_of_code(text), on))]
    rules.sort(key=lambda rule: (not rule.forbids, rule.rule.removeprefix("code:") in UMBRELLA_CODES))
    return rules


def _rows_of_code(text: str) -> tuple[Rule, ...] | None:
    """The rows of a decline code, or of the one that other gateways spell like this."""
    known, key = decline_rules(), key_of(text)
    if key in known:
        return known[key]
    spelled = code_spellings()
    return known.get(spelled.get(key) or spelled.get(key_of(CAMEL.sub("_", text))) or "")


def network_rule(decline: Decline, on: date) -> Rule | None:
    """What the card network, or the scheme of a bank debit, means by its code."""
    if decline.network_decline_code is None:
        return None
    code = decline.network_decline_code.lower()
    if code.isdigit() and len(code) == 1 and debit_network(decline) is None:
        code = f"0{code}"  # A number that lost its leading zero on the way through JSON.
    for network in (debit_network(decline) or key_of(decline.network or ""), "any"):
        rule = valid_on(network_rules().get((network, "decline", code)), on)
        if rule is not None:
            return rule
    return None


def any_other_rule(decline: Decline, on: date) -> Rule | None:
    """Visa's category 4: whatever code no other category names."""
    code = decline.network_decline_code or ""
    if (
        key_of(decline.network or "") != "visa"
        or debit_network(decline)
        or not code.isalnum()
        or len(code) > 2
    ):
        return None
    return valid_on(network_rules().get(("visa", "decline", "*")), on)


def advice_rules(decline: Decline, on: date) -> list[Rule]:
    """Stripe's advice code and Mastercard's, what forbids first."""
    keys = [("stripe", "advice", key_of(decline.advice_code))] if decline.advice_code else []
    if decline.network_advice_code and key_of(decline.network or "mastercard") == "mastercard":
        code = decline.network_advice_code.lower().removeprefix("mac").strip()
        keys.append(("mastercard", "advice", code.zfill(2)))
    rules = [rule for key in keys if (rule := valid_on(network_rules().get(key), on))]
    return sorted(rules, key=lambda rule: not rule.forbids)


def debit_network(decline: Decline) -> str | None:
    """The scheme of a bank debit, None for cards and all else."""
    return DEBIT_NETWORKS.get(key_of(decline.payment_method_type or ""))


def key_of(text: str) -> str:
    """A code as the tables spell it."""
    return text.strip().lower().replace(" ", "_").replace("-", "_")
