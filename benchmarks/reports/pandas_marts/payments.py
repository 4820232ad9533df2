"""By what a failed debt was paid after all, what was kept of it, and what brought the payment."""

from __future__ import annotations

import pandas as pd

from benchmarks.reports.pandas_marts.efforts import Efforts
from benchmarks.reports.pandas_marts.sources import (
    DEBT,
    MAIL_CREDIT_DAYS,
    STRIPE_RETRY_WINDOW_HOURS,
    Sources,
    chosen,
    whole,
    yes,
)

CHARGE = ["account_id", "charge_id"]
GONE = ("needs_response", "under_review", "lost", "charge_refunded")


def payments(
    sources: Sources, debts: pd.DataFrame, charges: pd.DataFrame, efforts: Efforts, announced: pd.DataFrame
) -> pd.DataFrame:
    """Of each debt that was paid: when, how much, what of it was given back or disputed, what is kept, and by what reason.

    `debts` are failed payments with the efforts for them.
    """
    paid = _payers(debts)
    paid = paid.merge(_payment_charges(sources, charges, paid), on=CHARGE, how="left")
    is_found, is_itself = paid.charge_paid_at.notna(), ~paid.is_paid_elsewhere
    charged_at = paid.charge_paid_at
    paid["paid_at"] = (
        paid.paid_at.where(is_itself)
        .fillna(charged_at)
        .fillna(paid.own_success_at.where(is_itself, paid.closed_at))
        .fillna(paid.last_failed_at)
    )
    amount = paid.amount_minor
    paid["paid_minor"] = whole(paid.paid_minor.fillna(amount)).clip(upper=amount)
    refunded = pd.concat(
        [
            paid.charge_refunded_minor.fillna(0),
            paid.refunded_minor.where(is_itself, 0),
            amount.where((paid.status == "refunded") & ~is_found, 0),
        ],
        axis=1,
    )
    paid["disputed_minor"] = whole(
        paid.disputed_minor.fillna(amount.where(paid.is_disputed & is_itself & ~is_found, 0))
    )
    order = ["is_paid_elsewhere", "first_failed_at", *DEBT]
    paid["is_counted"] = ~paid.sort_values(order).duplicated(["account_id", "payer"])
    kept = paid.paid_minor - whole(refunded.max(axis=1)) - paid.disputed_minor
    paid["kept_minor"] = kept.clip(lower=0).where(paid.is_counted, 0)
    paid["recovered_by"] = _reasons(paid[paid.kept_minor > 0], efforts.messages, announced)
    return paid


def _payers(debts: pd.DataFrame) -> pd.DataFrame:
    is_itself = debts.status.isin(("paid", "refunded")) | debts.has_own_success | debts.has_link_success
    is_elsewhere = ~is_itself & debts.paid_elsewhere_by.notna()
    own = debts.paid_charge_id.fillna(debts.own_charge_id)
    charge_id = own.where(is_itself, debts.paid_elsewhere_charge_id)
    payer = charge_id.fillna(debts.debt_id.where(is_itself, debts.paid_elsewhere_by))
    found = debts.assign(is_paid_elsewhere=is_elsewhere, charge_id=charge_id, payer=payer)
    return found[is_itself | is_elsewhere]


def _payment_charges(sources: Sources, charges: pd.DataFrame, paid: pd.DataFrame) -> pd.DataFrame:
    """The charges that pay failed debts, with what was given back of them."""
    wanted = charges[(charges.status == "succeeded") & charges.charge_id.isin(paid.charge_id)]
    refunds = sources.stripe("refunds", ["charge_id", "amount_minor", "status", "created_at"])
    disputes = sources.stripe("disputes", ["charge_id", "amount_minor", "status", "created_at"])
    refunds = refunds[(refunds.status == "succeeded") & refunds.charge_id.notna()]
    disputes = disputes[disputes.charge_id.notna()]
    gone = disputes.status.isin(GONE)
    disputes = disputes.assign(amount_minor=disputes.amount_minor.where(gone, 0))
    disputes["created_at"] = disputes.created_at.where(gone)
    for name, rows in (("back", refunds), ("lost", disputes)):
        sums = rows.groupby(CHARGE).agg(minor=("amount_minor", "sum"), at=("created_at", "max"))
        wanted = wanted.merge(sums.add_prefix(f"{name}_"), on=CHARGE, how="left")
    paid_minor = wanted.captured_minor.where(wanted.captured_minor != 0, wanted.amount_minor)
    disputed = wanted.lost_minor.fillna(wanted.amount_minor.where(wanted.is_disputed, 0))
    return pd.DataFrame(
        {
            "account_id": wanted.account_id,
            "charge_id": wanted.charge_id,
            "charge_paid_at": wanted.created_at,
            "paid_minor": paid_minor,
            "charge_refunded_minor": wanted[["refunded_minor", "back_minor"]].max(axis=1),
            "disputed_minor": disputed,
            "reversed_at": wanted[["back_at", "lost_at"]].max(axis=1),
        }
    )


def _reasons(kept: pd.DataFrame, messages: pd.DataFrame, announced: pd.DataFrame) -> pd.Series:
    """One reason each, in the order in which evidence counts."""
    kept = kept.assign(row=kept.index)
    itself = kept.loc[
        ~kept.is_paid_elsewhere & kept.invoice_id.notna(), ["account_id", "invoice_id", "paid_at", "row"]
    ]
    told = itself.merge(announced, on=["account_id", "invoice_id"])
    until = told.next_payment_attempt_at + pd.Timedelta(hours=STRIPE_RETRY_WINDOW_HOURS)
    told = told[
        (told.announced_at <= told.paid_at) & told.paid_at.between(told.next_payment_attempt_at, until)
    ]
    sent = messages.loc[(messages.kind == "dunning") & (messages.state == "sent"), ["case_id", "sent_at"]]
    mailed = kept.loc[kept.case_id.notna(), ["case_id", "paid_at", "row"]].merge(sent, on="case_id")
    until = mailed.sent_at + pd.Timedelta(days=MAIL_CREDIT_DAYS)
    mailed = mailed[mailed.paid_at.between(mailed.sent_at, until)]
    return chosen(
        (yes(kept.has_own_success), "own_retry"),
        (yes(kept.has_link_success), "after_mail"),
        (kept.row.isin(told.row), "stripe_retry"),
        (kept.row.isin(mailed.row), "after_mail"),
        (~kept.is_paid_elsewhere, "customer"),
        otherwise="other",
    )
