"""The timing model: how long it takes to learn and to score, and, on real attempts where they are given, how well.

`TINKO_PSP_FILE` names a Parquet file of card attempts with the columns of `REAL`; without it that part is left out.
What is measured is measured in processes of their own, so that the peak of memory is theirs alone.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tinko_pipelines.declines.records import CATEGORIES
from tinko_pipelines.model.timing.evaluate import Executed, auc_of, evaluate
from tinko_pipelines.model.timing.features import FEATURES, learn_names, matrix
from tinko_pipelines.model.timing.history import History
from tinko_pipelines.model.timing.recovery import RecoveryModel, fit
from tinko_pipelines.model.timing.schema import MOMENT, OUTCOME, completed, micros, retries
from tinko_pipelines.model.timing.split import customers

RETRIES = 1_000_000
HOURS = 168
CASES = 6_000
REAL = {
    "purchase_id": "debt_id", "tmsp": "attempted_at", "success": "succeeded", "amount": "amount_minor", "card": "card_brand",
    "country": "card_country", "PSP": "processor", "3D_secured": "authenticated", "first_tmsp": "first_failed_at",
    "attempt": "attempt_number",
}  # fmt: skip
LEARNED_SHARE = 0.6


def lines() -> list[str]:
    """What was measured, a sentence each."""
    return list(_told())


def _told() -> Iterator[str]:
    found = _alone("learn")
    yield (
        f"timing, learning: {found['retries']:,} retries of {found['attempts']:,} attempts: features {found['features_s']:.1f} s,"
        f" growing and calibrating {found['fit_s']:.1f} s, in all {found['all_s']:.1f} s and {found['peak_mb']:,.0f} MB at the peak,"
        f" on {found['threads']:.1f} cores"
    )
    yield (
        f"timing, scoring: {found['pairs_per_cpu_s']:,.0f} pairs of case and hour a CPU-second ({found['pairs_per_s']:,.0f} a second"
        f" in one thread), features and calibration included; one case over {HOURS} hours {found['one_case_ms']:.1f} ms"
    )
    path = os.environ.get("TINKO_PSP_FILE")
    if path is None:
        yield "timing, real attempts: left out, since TINKO_PSP_FILE names no file"
        return
    real = real_attempts(Path(path))
    yield (
        f"timing, real attempts: {real['judged']:,} retries later than the {real['learned']:,} learned from: AUC {_range(real['auc'])},"
        f" log loss {_range(real['log_loss'], 4)}, logistic regression's AUC {real['regression_auc']:.3f} and log loss"
        f" {real['regression_log_loss']:.4f}, better by {_range(real['gain'], 4)}; base rate's log loss {real['base_log_loss']:.4f}"
    )


def _range(one: dict[str, float], digits: int = 3) -> str:
    return f"{one['value']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def _alone(what: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.model.timing", what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def made_up(retried: int = RETRIES) -> pa.Table:
    """So many retries and the attempts before them, over a year, of a quarter as many customers."""
    random = np.random.default_rng(0)
    rows, debts = int(retried * 1.45), int(retried * 0.45)
    debt = np.r_[np.arange(debts), random.integers(0, debts, rows - debts)]
    owner = random.integers(0, retried // 4, debts)
    began = random.integers(0, 365 * 86_400, debts)
    at = began[debt] + np.r_[np.zeros(debts), random.exponential(5 * 86_400, rows - debts)].astype(np.int64)
    category = random.integers(0, len(CATEGORIES), debts)[debt]
    hour = at // 3600 % 24
    chance = 0.15 + 0.02 * category + np.where((hour > 8) & (hour < 18), 0.1, 0.0)
    names = np.array(CATEGORIES)[category]
    amount = np.exp(random.normal(8, 1, debts)).astype(np.int64)
    return pa.table(
        {
            "debt_id": np.char.add("in_", debt.astype(str)),
            "customer_id": np.char.add("cus_", owner[debt].astype(str)),
            "card_fingerprint": np.char.add("fp_", owner[debt].astype(str)),
            "attempted_at": pa.array(1_735_689_600_000_000 + at * 1_000_000).cast(MOMENT),
            "succeeded": (random.random(rows) < chance) & (np.arange(rows) >= debts),
            "amount_minor": amount[debt],
            "currency": np.where(debt % 3 == 0, "eur", "usd"),
            "category": names,
            "decline_code": names,
            "card_brand": np.where(debt % 2 == 0, "visa", "mastercard"),
            "card_funding": np.where(debt % 4 == 0, "debit", "credit"),
            "card_country": np.where(debt % 5 == 0, "US", "DE"),
            "source": np.where(debt % 2 == 0, "stripe", "ours"),
        }
    )


def learn() -> dict[str, Any]:
    """Learn from a million retries in this process, then score cases over a week of hours."""
    raw = made_up()
    wall, cpu = time.perf_counter(), time.process_time()
    whole = completed(raw)
    retried = retries(whole).slice(0, RETRIES)
    names, history = learn_names(retried), History(whole)
    values = matrix(retried, history, names)
    features_s = time.perf_counter() - wall
    truth = retried[OUTCOME].to_numpy(zero_copy_only=False)
    model = fit(values, truth, micros(retried["attempted_at"]), names)
    all_s = time.perf_counter() - wall
    used = time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "attempts": raw.num_rows, "retries": len(truth), "features_s": features_s, "fit_s": all_s - features_s,
        "all_s": all_s, "threads": used / all_s, "peak_mb": peak_mb, **_scoring(model, retried, history),
    }  # fmt: skip


def _scoring(model: RecoveryModel, retried: pa.Table, history: History) -> dict[str, float]:
    now = datetime(2026, 1, 10, tzinfo=UTC)
    moments = [now + timedelta(hours=hour) for hour in range(HOURS)]
    cases = retried.take(pa.array(np.random.default_rng(1).integers(0, retried.num_rows, CASES)))
    model.score(cases.slice(0, 100), moments, history, now)
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = model.score(cases, moments, history, now).size
    used, lasted = time.process_time() - cpu, time.perf_counter() - wall
    single = []
    for number in range(200):
        began = time.perf_counter()
        model.score(cases.slice(number, 1), moments, history, now)
        single.append(time.perf_counter() - began)
    return {
        "pairs_per_cpu_s": pairs / used,
        "pairs_per_s": pairs / lasted,
        "one_case_ms": 1000 * float(np.median(single)),
    }


def real_attempts(path: Path) -> dict[str, Any]:
    """Learn from the first 60 % of the time of real retries, judge on the rest, beside logistic regression."""
    table = pq.read_table(path, columns=list(REAL)).rename_columns(list(REAL.values()))
    flags = table["succeeded"].cast(pa.bool_())
    table = table.set_column(table.column_names.index("succeeded"), "succeeded", flags)
    whole = completed(table)
    retried = retries(whole)
    at = micros(retried["attempted_at"])
    early = at < at.min() + LEARNED_SHARE * (at.max() - at.min())
    names = learn_names(retried.filter(pa.array(early)))
    values = matrix(retried, History(whole), names)
    truth = retried[OUTCOME].to_numpy(zero_copy_only=False)
    model = fit(values[early], truth[early], at[early], names)
    executed = Executed(truth[~early], customers(retried)[~early], np.full((~early).sum(), "all"))
    other = _regression(values, truth, early)
    base_rate = float(truth[early].mean())
    found = evaluate(executed, model.predict(values[~early]), base_rate, other)
    metrics = found["metrics"]
    return {
        "learned": int(early.sum()), "judged": int((~early).sum()), "auc": metrics["model"]["auc"],
        "log_loss": metrics["model"]["log_loss"], "gain": found["gain_in_use"]["log_loss"],
        "regression_auc": auc_of(truth[~early], other), "regression_log_loss": metrics["in_use"]["log_loss"]["value"],
        "base_log_loss": metrics["base_rate"]["log_loss"]["value"],
    }  # fmt: skip


def _regression(values: np.ndarray, truth: np.ndarray, early: np.ndarray) -> np.ndarray:
    """What logistic regression makes of the same features: names one column each, numbers scaled, gaps filled."""
    from sklearn.linear_model import LogisticRegression

    columns = []
    for at, feature in enumerate(FEATURES):
        column = values[:, at]
        if np.isnan(column[early]).all():
            continue
        if feature.of_names or feature.name in ("hour_of_day", "day_of_week"):
            columns.extend(
                (column == code).astype(float) for code in np.unique(column[early][~np.isnan(column[early])])
            )
            continue
        filled = np.nan_to_num(column, nan=float(np.nanmean(column[early])))
        columns.append((filled - filled[early].mean()) / max(filled[early].std(), 1e-9))
    table = np.column_stack(columns)
    fitted = LogisticRegression(max_iter=2_000).fit(table[early], truth[early])
    return np.asarray(fitted.predict_proba(table[~early])[:, 1])


if __name__ == "__main__":
    if sys.argv[1:] == ["learn"]:
        sys.stdout.write(json.dumps(learn()))
    else:
        sys.stdout.write("\n".join(lines()) + "\n")
