"""The fact that all rests on: a row for each failed payment, with what the rates sum up of it."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc

from benchmarks.reports.pandas_marts.efforts import Efforts
from benchmarks.reports.pandas_marts.payments import payments
from benchmarks.reports.pandas_marts.sources import (
    DEBT,
    Sources,
    chosen,
    day_of,
    month_of,
    whole,
    yes,
)
from tinko_pipelines.money import THREE_DECIMAL_CURRENCIES, ZERO_DECIMAL_CURRENCIES

FAILED = [
    "account_id", "livemode", "debt_id", "debt_kind", "invoice_id", "payment_intent_id", "customer_id", "subscription_id",
    "currency", "amount_minor", "refunded_minor", "status", "disputed", "code", "first_failed_at", "last_failed_at",
    "paid_at", "paid_charge_id", "paid_elsewhere_by", "paid_elsewhere_charge_id", "price_id", "billing_reason",
    "payment_method_type", "card_brand", "card_funding", "card_issuer", "card_country",
]  # fmt: skip
JUDGED = ["category", "move", "verdict_source", "verdict_rule", "verdict_confidence"]
OF_CASE = [
    *DEBT, *JUDGED, "case_id", "case_state", "decline_code", "policy_version", "model_version", "experiment_arm",
    "closed_at", "own_attempts", "messages_sent", "has_own_success", "has_link_success", "own_success_at", "own_charge_id",
]  # fmt: skip
OF_PAYMENT = [
    *DEBT, "paid_at", "paid_minor", "disputed_minor", "kept_minor", "reversed_at", "is_counted", "charge_id", "recovered_by"
]  # fmt: skip
ENDED = ("canceled", "void", "uncollectible")
CLOSED = ("recovered", "paid_elsewhere", "exhausted", "cancelled", "not_ours")
DEBT_COLUMNS = """
account_id livemode debt_id debt_kind invoice_id payment_intent_id customer_id subscription_id currency failed_amount_minor
amount_band first_failed_at first_failed_on cohort_month category move decline_code verdict_source verdict_rule
verdict_confidence price_id plan_name billing_reason payment_method_type card_brand card_funding card_issuer card_country
case_id case_state policy_version model_version experiment_arm status is_paid_later is_recovered recovered_by recovered_at
recovered_amount_minor paid_amount_minor reversed_amount_minor disputed_amount_minor is_restated restated_at
payment_charge_id is_closed outcome outcome_at days_to_recover own_attempts messages_sent
""".split()


def failed_payments(
    sources: Sources, efforts: Efforts, charges: pd.DataFrame, announced: pd.DataFrame
) -> pd.DataFrame:
    """A row for each debt whose first charge failed."""
    debts = sources.derived("failed_payments", FAILED).rename(columns={"disputed": "is_disputed"})
    debts["is_disputed"] = yes(debts.is_disputed)
    debts["refunded_minor"] = whole(debts.refunded_minor)
    debts = debts.merge(efforts.cases[OF_CASE], on=DEBT, how="left")
    for name in ("has_own_success", "has_link_success"):
        debts[name] = yes(debts[name])
    paid = payments(sources, debts, charges, efforts, announced)[OF_PAYMENT]
    debts = debts.drop(columns="paid_at").merge(paid, on=DEBT, how="left")
    debts = _judged(sources, debts)
    debts = _named(sources, debts)
    return _closed(_counted(debts), _endings(sources, debts))


def _judged(sources: Sources, debts: pd.DataFrame) -> pd.DataFrame:
    """What kind of failure it is: as the case has it, else as it was classified."""
    named = {"source": "verdict_source", "rule": "verdict_rule", "confidence": "verdict_confidence"}
    read = ["category", "move", *named]
    verdicts = sources.derived("verdicts", [*DEBT, *read]).rename(columns=named)
    debts = debts.merge(verdicts, on=DEBT, how="left", suffixes=("", "_classified"))
    for name in JUDGED:
        debts[name] = debts[name].fillna(debts.pop(f"{name}_classified"))
    debts["category"] = debts.category.fillna("unknown")
    debts["move"] = debts.move.fillna("customer")
    debts["decline_code"] = debts.decline_code.fillna(debts.pop("code")).fillna("none")
    debts["experiment_arm"] = debts.experiment_arm.fillna("none")
    return debts


def _named(sources: Sources, debts: pd.DataFrame) -> pd.DataFrame:
    """Plan, band of amount, day and month."""
    prices = sources.stripe("prices", ["nickname", "product_id"], id="price_id")
    prices["plan_name"] = prices.nickname.fillna(prices.product_id).fillna(prices.price_id)
    debts = debts.merge(
        prices[["account_id", "price_id", "plan_name"]], on=["account_id", "price_id"], how="left"
    )
    debts["plan_name"] = debts.plan_name.fillna(debts.price_id)
    per_unit = pd.Series(100, index=debts.index)
    per_unit[debts.currency.isin(ZERO_DECIMAL_CURRENCIES)] = 1
    per_unit[debts.currency.isin(THREE_DECIMAL_CURRENCIES)] = 1000
    units = debts.amount_minor / per_unit
    debts["amount_band"] = chosen(
        (units < 10, "1: below 10"),
        (units < 50, "2: 10 to 50"),
        (units < 200, "3: 50 to 200"),
        (units < 1000, "4: 200 to 1000"),
        otherwise="5: 1000 and more",
    )
    debts["first_failed_on"] = day_of(debts.first_failed_at)
    debts["cohort_month"] = month_of(debts.first_failed_at)
    return debts


def _endings(sources: Sources, debts: pd.DataFrame) -> pd.Series:
    """When invoices were voided or written off, and intents cancelled, for debts of which Stripe says so."""
    voided, written_off = pc.field("voided_at"), pc.field("marked_uncollectible_at")
    invoices = sources.stripe(
        "invoices",
        ["voided_at", "marked_uncollectible_at"],
        voided.is_valid() | written_off.is_valid(),
        "debt_id",
    )
    invoices["ended_at"] = invoices.voided_at.fillna(invoices.marked_uncollectible_at)
    intents = sources.stripe(
        "payment_intents", ["canceled_at"], pc.field("canceled_at").is_valid(), "debt_id"
    )
    intents = intents.rename(columns={"canceled_at": "ended_at"})
    ended = pd.concat([invoices[[*DEBT, "ended_at"]], intents])
    found = debts[DEBT].merge(ended, on=DEBT, how="left").ended_at.set_axis(debts.index)
    return found.where(debts.status.isin(ENDED)).fillna(debts.closed_at).fillna(debts.last_failed_at)


def _counted(debts: pd.DataFrame) -> pd.DataFrame:
    """What was paid, kept and given back; a payment counts once."""
    is_paid, is_counted = debts.kept_minor.notna(), yes(debts.is_counted)
    kept = whole(debts.kept_minor)
    paid = whole(debts.paid_minor.where(is_counted))
    is_recovered = kept > 0
    passed = (debts.paid_at - debts.first_failed_at).dt.total_seconds() / 86_400
    return debts.rename(
        columns={"amount_minor": "failed_amount_minor", "charge_id": "payment_charge_id"}
    ).assign(
        is_paid_later=is_paid,
        is_counted=is_counted,
        is_recovered=is_recovered,
        recovered_at=debts.paid_at.where(is_recovered),
        recovered_amount_minor=kept,
        paid_amount_minor=paid,
        reversed_amount_minor=paid - kept,
        disputed_amount_minor=whole(debts[["disputed_minor", "paid_minor"]].min(axis=1).where(is_counted)),
        is_restated=paid > kept,
        restated_at=debts.reversed_at.where(is_counted).fillna(debts.paid_at).where(paid > kept),
        days_to_recover=passed.where(is_recovered),
        own_attempts=whole(debts.own_attempts),
        messages_sent=whole(debts.messages_sent),
    )


def _closed(debts: pd.DataFrame, ended_at: pd.Series) -> pd.DataFrame:
    """What became of the debt, and what the rates sum up of it."""
    is_canceled = debts.status.isin(ENDED) | (debts.case_state == "cancelled")
    debts["is_closed"] = debts.is_paid_later | debts.status.isin(ENDED) | debts.case_state.isin(CLOSED)
    debts["outcome"] = chosen(
        (debts.is_recovered, "recovered"),
        (debts.is_paid_later & ~debts.is_counted, "merged"),
        (debts.is_paid_later, "reversed"),
        (is_canceled, "canceled"),
        otherwise="owed",
    )
    debts["outcome_at"] = debts.paid_at.where(debts.is_paid_later, ended_at.where(is_canceled))
    is_final = debts.is_closed & (debts.outcome != "merged")
    is_lost = is_final & ~debts.is_recovered
    amount = debts.failed_amount_minor
    return debts.assign(
        failed_count=1,
        recovered_count=debts.is_recovered,
        closed_count=debts.is_closed,
        closed_amount_minor=amount.where(debts.is_closed, 0),
        open_count=~debts.is_closed,
        in_recovery_count=~debts.is_closed & debts.case_id.notna(),
        in_recovery_amount_minor=amount.where(~debts.is_closed & debts.case_id.notna(), 0),
        open_amount_minor=amount.where(~debts.is_closed, 0),
        lost_count=is_lost,
        lost_amount_minor=(amount - debts.recovered_amount_minor).where(is_final, 0),
        never_retried_lost_count=is_lost & (debts.own_attempts == 0),
        never_retried_lost_amount_minor=amount.where(is_lost & (debts.own_attempts == 0), 0),
        restated_count=debts.is_restated,
        disputed_count=debts.disputed_amount_minor > 0,
    )
