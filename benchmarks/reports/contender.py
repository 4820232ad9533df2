"""Four of the marts written in pandas by somebody in a hurry: `python -m benchmarks.reports.contender <state folder>`.

Charges, failed payments, verdicts, refunds, disputes and attempts are read as columns, merged and grouped. Left out is what the
models do beyond: reasons by evidence, payments shared by two debts, tests. Prints rows by mart as JSON.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

CHARGES = [
    "id", "account_id", "payment_intent_id", "currency", "status", "amount_minor", "amount_captured_minor",
    "amount_refunded_minor", "disputed", "created_at",
]  # fmt: skip
FAILED = [
    "account_id",
    "debt_id",
    "first_failed_at",
    "amount_minor",
    "currency",
    "status",
    "paid_charge_id",
    "paid_at",
    "code",
]
GONE = ("needs_response", "under_review", "lost", "charge_refunded")


def read(folder: Path, columns: list[str]) -> pd.DataFrame:
    """Some columns of a table."""
    return ds.dataset(folder, format="parquet").to_table(columns=columns).to_pandas()


def facts(lake: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Failed debts with what was kept of each, and all charges with their debts."""
    tables = lake / "tables"
    charges = read(tables / "charges", CHARGES)
    payments = read(tables / "invoice_payments", ["payment_intent_id", "invoice_id"])
    failed = read(lake / "derived" / "failed_payments.parquet", FAILED)
    verdicts = read(lake / "derived" / "verdicts.parquet", ["debt_id", "category"])
    refunds = read(tables / "refunds", ["charge_id", "amount_minor", "status"])
    disputes = read(tables / "disputes", ["charge_id", "amount_minor", "status"])
    back = refunds[refunds.status == "succeeded"].groupby("charge_id").amount_minor.sum().rename("back")
    lost = disputes[disputes.status.isin(GONE)].groupby("charge_id").amount_minor.sum().rename("lost")
    paid = charges[charges.status == "succeeded"].set_index("id")[["amount_captured_minor"]]
    found = failed.merge(verdicts, on="debt_id", how="left").join(paid, on="paid_charge_id")
    found = (
        found.join(back, on="paid_charge_id").join(lost, on="paid_charge_id").fillna({"back": 0, "lost": 0})
    )
    kept = found[["amount_captured_minor", "amount_minor"]].min(axis=1) - found.back - found.lost
    found["kept_minor"] = kept.where(found.amount_captured_minor.notna(), 0).clip(lower=0)
    found["cohort"] = found.first_failed_at.dt.strftime("%Y-%m")
    charges = charges.merge(payments, on="payment_intent_id", how="left")
    charges["debt_id"] = charges.invoice_id.fillna(charges.payment_intent_id).fillna(charges.id)
    return found, charges


def marts(found: pd.DataFrame, charges: pd.DataFrame) -> dict[str, int]:
    """Rows of cohorts, decline codes, days of cash and first attempts."""
    found["is_recovered"] = found.kept_minor > 0
    by = ["account_id", "currency", "cohort"]
    sums = {"amount_minor": "sum", "kept_minor": "sum", "is_recovered": "sum", "debt_id": "count"}
    cohorts = found.groupby(by).agg(sums)
    codes = found.groupby([*by, "code", "category"]).agg(sums)
    cash = (
        found[found.is_recovered].groupby(["account_id", "currency", found.paid_at.dt.date]).kept_minor.sum()
    )
    passed = charges[(charges.status != "failed") & ~charges.debt_id.isin(found.debt_id)]
    firsts = passed.sort_values("created_at").drop_duplicates(["account_id", "debt_id"])
    days = firsts.groupby(["account_id", "currency", firsts.created_at.dt.date]).amount_minor.agg(
        ["count", "sum"]
    )
    return {"cohorts": len(cohorts), "codes": len(codes), "cash": len(cash), "days": len(days)}


if __name__ == "__main__":
    print(json.dumps(marts(*facts(Path(sys.argv[1]) / "lake"))))
