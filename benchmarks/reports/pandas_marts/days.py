"""Charges with the debts they belong to, first attempts by day, and what each day brought."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.reports.pandas_marts.sources import (
    DEBT,
    Sources,
    day_of,
    first_of,
    parsed,
    share,
    summed,
    whole,
    yes,
)

CHARGE = [
    "payment_intent_id", "livemode", "currency", "amount_minor", "amount_captured_minor", "amount_refunded_minor", "status",
    "captured", "disputed", "created_at",
]  # fmt: skip
BY_DAY = ["account_id", "livemode", "currency", "day"]
REASONS = ("own_retry", "stripe_retry", "after_mail", "customer", "other")
OF_DAY = [
    "first_attempt_count", "first_attempt_amount_minor", "failed_first_attempt_count",
    "failed_first_attempt_amount_minor", "recovered_of_day_count", "recovered_of_day_amount_minor",
    "cash_count", "cash_amount_minor", *(f"cash_{reason}_amount_minor" for reason in REASONS),
    "executed_attempts", "succeeded_attempts", "messages_sent",
]  # fmt: skip


def read_charges(sources: Sources) -> pd.DataFrame:
    """All charges."""
    named = {
        "amount_captured_minor": "captured_minor",
        "amount_refunded_minor": "refunded_minor",
        "captured": "is_captured",
        "disputed": "is_disputed",
    }
    charges = sources.stripe("charges", CHARGE, id="charge_id").rename(columns=named)
    for name in ("captured_minor", "refunded_minor"):
        charges[name] = whole(charges[name])
    charges["is_captured"] = yes(charges.is_captured, True)
    charges["is_disputed"] = yes(charges.is_disputed)
    return charges


def daily(
    firsts: pd.DataFrame, debts: pd.DataFrame, attempts: pd.DataFrame, messages: pd.DataFrame
) -> pd.DataFrame:
    """What was tried, failed, recovered, charged and sent on each day."""
    failed = debts.assign(
        day=debts.first_failed_on,
        first_attempt_count=1,
        first_attempt_amount_minor=debts.failed_amount_minor,
        failed_first_attempt_count=1,
        failed_first_attempt_amount_minor=debts.failed_amount_minor,
        recovered_of_day_count=debts.is_recovered,
        recovered_of_day_amount_minor=debts.recovered_amount_minor,
    )
    cash = debts[debts.is_recovered]
    cash = cash.assign(
        day=day_of(cash.recovered_at), cash_count=1, cash_amount_minor=cash.recovered_amount_minor
    )
    for reason in REASONS:
        cash[f"cash_{reason}_amount_minor"] = cash.cash_amount_minor.where(cash.recovered_by == reason, 0)
    tries = attempts[attempts.is_own & attempts.called_at.notna()]
    tries = tries.assign(
        day=day_of(tries.called_at), executed_attempts=1, succeeded_attempts=tries.is_succeeded
    )
    mails = messages[messages.is_sent & messages.currency.notna()]
    mails = mails.assign(day=day_of(mails.sent_at), messages_sent=mails.sent_count)
    parts = [
        (firsts, OF_DAY[:2]),
        (failed, OF_DAY[:6]),
        (cash, OF_DAY[6:-3]),
        (tries, OF_DAY[-3:-1]),
        (mails, OF_DAY[-1:]),
    ]
    found = pd.concat([summed(frame, BY_DAY, columns) for frame, columns in parts])
    found = summed(found, BY_DAY, OF_DAY)
    found[OF_DAY] = found[OF_DAY].astype("int64")
    for what in ("count", "amount"):
        unit = "count" if what == "count" else "amount_minor"
        failed_first, first = found[f"failed_first_attempt_{unit}"], found[f"first_attempt_{unit}"]
        found[f"failure_rate_{what}"] = share(failed_first, first)
    return found


def first_attempts(sources: Sources, charges: pd.DataFrame) -> pd.DataFrame:
    """By day: of each debt that did not fail its first charge that passed, or is on its way."""
    failed = sources.derived("failed_payments", DEBT)
    columns = [
        "account_id",
        "charge_id",
        "payment_intent_id",
        "livemode",
        "currency",
        "amount_minor",
        "created_at",
    ]
    passed = charges.loc[charges.status != "failed", columns].reset_index(drop=True)
    passed["debt_id"] = _debts_of(sources, passed)
    known = passed[DEBT].merge(failed, on=DEBT, how="left", indicator=True)["_merge"] == "both"
    firsts = first_of(passed[~known], DEBT, ["created_at", "charge_id"])
    firsts = firsts.assign(day=day_of(firsts.created_at), first_attempt_count=1)
    return summed(firsts.rename(columns={"amount_minor": "first_attempt_amount_minor"}), BY_DAY, OF_DAY[:2])


def _debts_of(sources: Sources, charges: pd.DataFrame) -> pd.Series:
    """The invoice of the charge's intent, or the one it paid itself, or what its intent stands for, or it itself."""
    paid = sources.stripe("invoice_payments", ["invoice_id", "payment_intent_id", "charge_id"])
    paid = paid.rename(columns={"invoice_id": "debt_id"})
    intents = sources.stripe(
        "payment_intents",
        ["metadata"],
        pc.match_substring(pc.field("metadata"), '"tinko_debt"'),
        "payment_intent_id",
    )
    intents["debt_id"] = parsed(intents.metadata, {"tinko_debt": pa.string()}).tinko_debt.astype("str")
    found = pd.Series(None, index=charges.index, dtype="str")
    for key, links in (("payment_intent_id", paid), ("charge_id", paid), ("payment_intent_id", intents)):
        by = ["account_id", key]
        known = first_of(
            links.loc[links[key].notna() & links.debt_id.notna(), [*by, "debt_id"]], by, ["debt_id"]
        )
        if len(known):
            found = found.fillna(charges[by].merge(known, on=by, how="left").debt_id)
    return found.fillna(charges.payment_intent_id).fillna(charges.charge_id)
