"""The curve of recovery (Aalen-Johansen, by calendar days), and what it promises of what is open."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.reports.pandas_marts.sources import day_of, summed

CURVE = ["account_id", "livemode", "category"]
LAST_DAY = 60


def curves(debts: pd.DataFrame, as_of: pd.Timestamp) -> Iterator[tuple[str, pd.DataFrame]]:
    """Time to recover, and predicted recovery."""
    today = as_of.tz_convert(None).normalize()
    found = _by_day(_incidence(debts, today))
    yield "time_to_recover", found
    yield "predicted_recovery", _predicted(debts, found, today)


def _incidence(debts: pd.DataFrame, today: pd.Timestamp) -> pd.DataFrame:
    """For each day on which debts left: how many are left, and what share was recovered or ended by then."""
    ended_on = day_of(debts.outcome_at).fillna(today)
    left = debts[CURVE].assign(
        from_day=(ended_on - debts.first_failed_on).dt.days.clip(lower=0),
        leaving=1,
        recovered=debts.outcome == "recovered",
        ended=debts.outcome.isin(("canceled", "reversed", "merged")),
    )
    by, sums = [*CURVE, "from_day"], ["leaving", "recovered", "ended"]
    left = summed(left, by, sums)
    left = summed(pd.concat([left, left.assign(category="all")]), by, sums).sort_values(by, ignore_index=True)
    curve = left.groupby(CURVE)
    left["failed_count"] = curve.leaving.transform("sum")
    at_risk = left.failed_count - curve.leaving.cumsum() + left.leaving
    gone = left.recovered + left.ended
    kept = (1 - gone / at_risk).groupby([left[name] for name in CURVE])
    owed_before = kept.cumprod().groupby([left[name] for name in CURVE]).shift(fill_value=1)
    left["at_risk_count"] = at_risk - left.leaving
    for name in ("recovered", "ended"):
        left[f"{name}_share"] = owed_before * left[name] / at_risk
        left[f"{name}_incidence"] = left.groupby(CURVE)[f"{name}_share"].cumsum()
        left[f"{name}_count"] = left.groupby(CURVE)[name].cumsum()
    return left


def _by_day(left: pd.DataFrame) -> pd.DataFrame:
    """The curve as it stands on each of the first sixty days."""
    groups = left[[*CURVE, "failed_count"]].drop_duplicates()
    grid = groups.merge(pd.DataFrame({"day": np.arange(LAST_DAY + 1)}), how="cross").sort_values("day")
    told = left.drop(columns="failed_count").sort_values("from_day")
    found = pd.merge_asof(grid, told, by=CURVE, left_on="day", right_on="from_day")
    return pd.DataFrame(
        {
            **{name: found[name] for name in (*CURVE, "day", "failed_count")},
            "at_risk_count": found.at_risk_count.fillna(found.failed_count).astype("int64"),
            "recovered_count": found.recovered_count.fillna(0).astype("int64"),
            "canceled_count": found.ended_count.fillna(0).astype("int64"),
            "recovered_incidence": found.recovered_incidence.fillna(0).clip(upper=1).round(12),
            "canceled_incidence": found.ended_incidence.fillna(0).clip(upper=1).round(12),
        }
    )


def _predicted(debts: pd.DataFrame, curve: pd.DataFrame, today: pd.Timestamp) -> pd.DataFrame:
    """Of those still owed by their day, the share that the curve has yet to gain."""
    owed = debts[~debts.is_closed]
    owed = owed.assign(day=(today - owed.first_failed_on).dt.days.clip(upper=LAST_DAY))
    by = ["account_id", "livemode", "currency", "category"]
    aged = summed(owed, [*by, "day"], ["open_count", "open_amount_minor"])
    end = curve[curve.day == LAST_DAY].rename(columns={"recovered_incidence": "by_the_end"})
    aged = aged.merge(curve, on=[*CURVE, "day"], how="left").merge(
        end[[*CURVE, "by_the_end"]], on=CURVE, how="left"
    )
    still_owed = 1 - aged.recovered_incidence - aged.canceled_incidence
    chance = ((aged.by_the_end - aged.recovered_incidence) / still_owed).where(still_owed > 1e-9, 0)
    aged["predicted_count"] = aged.open_count * chance
    aged["predicted_amount_minor"] = aged.open_amount_minor * chance
    found = summed(aged, by, ["open_count", "open_amount_minor", "predicted_count", "predicted_amount_minor"])
    return found.assign(
        predicted_count=found.predicted_count.round(6),
        predicted_amount_minor=np.floor(found.predicted_amount_minor + 0.5).astype("int64"),
    )
