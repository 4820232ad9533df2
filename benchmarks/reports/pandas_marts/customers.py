"""Customers and subscriptions that have failed payments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.reports.pandas_marts.sources import Sources, chosen, month_of, share, summed, whole, yes

A_MONTH = {"day": 365 / 12, "week": 52 / 12, "month": 1.0, "year": 1 / 12}


def of_customers(sources: Sources, debts: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The marts of them."""
    yield "dim_customers", _customers(sources, debts)
    owing = _subscriptions(sources, debts)
    yield "subscriptions_saved", _saved(owing)
    yield "involuntary_churn", _churn(owing)


def _customers(sources: Sources, debts: pd.DataFrame) -> pd.DataFrame:
    by = ["account_id", "livemode", "customer_id"]
    named = debts[debts.customer_id.notna() & (debts.customer_id != "erased")]
    found = named.groupby(by, sort=False).agg(
        first_failed_at=("first_failed_at", "min"),
        last_failed_at=("first_failed_at", "max"),
        failed_count=("failed_count", "sum"),
        recovered_count=("recovered_count", "sum"),
        open_count=("open_count", "sum"),
        own_attempts=("own_attempts", "sum"),
        messages_sent=("messages_sent", "sum"),
    )
    currencies = named[[*by, "currency"]].drop_duplicates().dropna().groupby(by, sort=False).size()
    found = found.assign(currencies=whole(currencies.reindex(found.index))).reset_index()
    customers = sources.stripe("customers", ["delinquent", "deleted", "created_at"], id="customer_id")
    found = found.merge(customers, on=["account_id", "customer_id"], how="left")
    found = found.rename(columns={"created_at": "customer_since"})
    return found.assign(is_delinquent=yes(found.pop("delinquent")), is_deleted=yes(found.pop("deleted")))


def _subscriptions(sources: Sources, debts: pd.DataFrame) -> pd.DataFrame:
    """Every subscription with what it brings a month, and its failed payments."""
    key = ["account_id", "subscription_id"]
    columns = ["livemode", "currency", "status", "cancellation_reason", "ended_at", "price_id"]
    found = sources.stripe("subscriptions", columns, id="subscription_id")
    prices = sources.stripe("prices", ["interval", "interval_count", "unit_amount_minor"], id="price_id")
    a_month = (
        prices.unit_amount_minor
        * prices.interval.map(A_MONTH).astype("float64")
        / prices.interval_count.fillna(1)
    )
    prices["mrr_minor"] = np.floor(a_month.round(6) + 0.5)
    found = found.merge(
        prices[["account_id", "price_id", "mrr_minor"]], on=["account_id", "price_id"], how="left"
    )
    found["mrr_minor"] = whole(found.mrr_minor)
    owed = debts.loc[
        debts.subscription_id.notna(), [*key, "first_failed_at", "outcome_at", "is_recovered", "is_closed"]
    ]
    owed = owed.merge(found[[*key, "ended_at"]], on=key)
    lasts = owed.outcome_at.isna() | (owed.outcome_at >= owed.ended_at)
    owed = owed.assign(
        failed_count=1,
        recovered_count=owed.is_recovered,
        open_count=~owed.is_recovered & ~owed.is_closed,
        owed_at_end_count=(owed.first_failed_at <= owed.ended_at) & lasts,
    )
    sums = ["failed_count", "recovered_count", "open_count", "owed_at_end_count"]
    counted = summed(owed, key, sums).merge(owed.groupby(key).first_failed_at.min(), on=key)
    found = found.merge(counted, on=key, how="left")
    return found.assign(**{name: whole(found[name]) for name in sums})


def _saved(owing: pd.DataFrame) -> pd.DataFrame:
    risked = owing[owing.failed_count > 0]
    lives = risked.ended_at.isna()
    is_saved = (
        (risked.open_count == 0)
        & (risked.recovered_count > 0)
        & lives
        & risked.status.isin(("active", "trialing"))
    )
    risked = risked.assign(
        cohort_month=month_of(risked.first_failed_at),
        subscriptions_at_risk=1,
        subscriptions_saved=is_saved,
        subscriptions_undecided=~is_saved & lives,
        subscriptions_ended=~lives,
        mrr_at_risk_minor=risked.mrr_minor,
        mrr_saved_minor=risked.mrr_minor.where(is_saved, 0),
    )
    sums = [
        "subscriptions_at_risk", "subscriptions_saved", "subscriptions_undecided", "subscriptions_ended",
        "mrr_at_risk_minor", "mrr_saved_minor",
    ]  # fmt: skip
    found = summed(risked, ["account_id", "livemode", "currency", "cohort_month"], sums)
    return found.assign(saved_rate=share(found.subscriptions_saved, found.subscriptions_at_risk))


def _churn(owing: pd.DataFrame) -> pd.DataFrame:
    ended = owing[owing.ended_at.notna()]
    owes, reason = ended.owed_at_end_count > 0, ended.cancellation_reason
    kind = chosen(
        (reason.isin(("payment_failed", "payment_disputed")) | (owes & reason.isna()), "involuntary"),
        (owes, "left_while_owing"),
        otherwise="voluntary",
    )
    ended = ended.assign(ended_month=month_of(ended.ended_at), ended_count=1, ended_mrr_minor=ended.mrr_minor)
    kinds = ("involuntary", "left_while_owing", "voluntary")
    for name in kinds:
        ended[f"{name}_count"] = kind == name
        ended[f"{name}_mrr_minor"] = ended.mrr_minor.where(kind == name, 0)
    sums = [
        "ended_count",
        "ended_mrr_minor",
        *(f"{name}_{unit}" for name in kinds for unit in ("count", "mrr_minor")),
    ]
    found = summed(ended, ["account_id", "livemode", "currency", "ended_month"], sums)
    found = found.drop(columns="voluntary_mrr_minor")
    return found.assign(involuntary_share=share(found.involuntary_count, found.ended_count))
