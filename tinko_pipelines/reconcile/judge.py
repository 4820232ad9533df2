"""Where ledger and Stripe part over one case. Pure; shares nothing with the code that charges."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tinko_pipelines.reconcile.records import Charge, Finding, Held, Verdict

GRACE = timedelta(minutes=10)
"""Younger than this, a difference may only be that one side is still at it."""
_BEFORE, _AFTER = timedelta(seconds=5), timedelta(seconds=60)
_LOST = ("declined", "abandoned", "prepared")
_BLOCKING = ("prepared", "calling", "processing", "requires_action", "unknown", "succeeded")


def judge(held: Held, charges: Iterable[Charge], now: datetime) -> Verdict:
    """Compare a case with every charge Stripe shows for its debt."""
    ordered = sorted(charges, key=lambda charge: (charge.created_at, charge.id))
    findings: list[Finding] = []
    kept = [charge for charge in ordered if charge.succeeded and not charge.refunded]
    if len(kept) > 1:
        findings.append(_paid_twice(held.case, kept))
    look = False
    for charge in ordered:
        if charge.created_at <= now - GRACE:
            found, asks = _judge_charge(held, charge)
            findings += found
            look |= asks
    passed = {charge.id for charge in ordered if charge.succeeded}
    owned = {owner["id"] for charge in ordered if charge.succeeded and (owner := owner_of(charge, held))}
    for attempt in held.attempts:
        if attempt["state"] != "succeeded" or attempt["settled_at"] > now - GRACE:
            continue
        if attempt["charge_id"] not in passed and attempt["id"] not in owned:
            findings.append(_finding(held.case, "success_not_at_stripe", attempt["id"], None, attempt))
    return Verdict(findings, look)


def _judge_charge(held: Held, charge: Charge) -> tuple[list[Finding], bool]:
    """What one charge says against its case; and whether it only means that somebody should look."""
    case = held.case
    if charge.names is not None and all(attempt["id"] != charge.names for attempt in held.attempts):
        return [_finding(case, "attempt_missing", charge.names, charge)], False
    owner = owner_of(charge, held)
    if owner is not None:
        found = []
        if (charge.amount_minor, charge.currency) != (owner["amount_minor"], owner["currency"]):
            found.append(_finding(case, "amount_differs", owner["id"], charge))
        if charge.succeeded and owner["state"] in _LOST:
            found.append(_finding(case, "success_unknown", owner["id"], charge))
        return found, False
    if not charge.succeeded:
        return [], False
    if case["state"] == "open":
        return [], not any(attempt["state"] in _BLOCKING for attempt in held.attempts)
    if case["state"] == "cancelled" and case["closed_at"] and charge.created_at > case["closed_at"]:
        return [_finding(case, "paid_after_cancellation", charge.id, charge, money=False)], False
    return [], False


def owner_of(charge: Charge, held: Held) -> Mapping[str, Any] | None:
    """The attempt a charge belongs to: by its request, else by its tag and time; None when it is not ours."""
    by_id = {attempt["id"]: attempt for attempt in held.attempts}
    for attempt in held.attempts:
        if attempt["charge_id"] == charge.id:
            return attempt
    if charge.asked:
        return by_id.get(charge.asked_by or "")
    # An intent keeps its tag when its customer pays later, so a tag counts only while the attempt lasted.
    meant = [by_id[charge.attempt_tag]] if charge.attempt_tag in by_id else []
    if charge.attempt_tag is None and held.case["debt_kind"] == "invoice":
        meant = [attempt for attempt in held.attempts if attempt["called_at"] is not None]
    for attempt in meant:
        began = attempt["called_at"] or attempt["prepared_at"]
        ended = attempt["settled_at"]
        if began - _BEFORE <= charge.created_at and (ended is None or charge.created_at <= ended + _AFTER):
            return attempt
    return None


def _paid_twice(case: Mapping[str, Any], kept: list[Charge]) -> Finding:
    last = kept[-1]
    return Finding(
        "paid_twice",
        case["id"],
        f"{len(kept)} charges of {case['debt_id']} succeeded and are not refunded: "
        + ", ".join(charge.id for charge in kept[:5]),
        case_id=case["id"],
        proposal=f"refund {last.id}",
        charge_id=last.id,
        amount_minor=last.amount_minor,
        currency=last.currency,
    )


_SAID = {
    "attempt_missing": "Stripe has charge {charge} of attempt {subject}, which the ledger does not have",
    "amount_differs": "charge {charge} took {amount} {currency}, attempt {subject} asked for another amount",
    "success_unknown": "charge {charge} succeeded, but the ledger does not hold attempt {subject} for paid",
    "success_not_at_stripe": "the ledger holds attempt {subject} for paid, but Stripe shows no such success",
    "paid_after_cancellation": "charge {charge} succeeded after the case was cancelled",
}


def _finding(
    case: Mapping[str, Any],
    kind: str,
    subject: str,
    charge: Charge | None,
    attempt: Mapping[str, Any] | None = None,
    *,
    money: bool = True,
) -> Finding:
    amount = charge.amount_minor if charge else (attempt or case)["amount_minor"]
    currency = charge.currency if charge else (attempt or case)["currency"]
    charge_id = charge.id if charge else (attempt or {}).get("charge_id")
    detail = _SAID[kind].format(charge=charge_id, subject=subject, amount=amount, currency=currency)
    return Finding(
        kind,
        subject,
        f"{detail} (case {case['id']}, {case['state']})",
        money,
        case["id"],
        charge_id=charge_id,
        amount_minor=amount,
        currency=currency,
    )
