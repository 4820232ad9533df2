"""Arms of experiments compared: debts retried against those left alone, subjects of mails against the first of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.reports.pandas_marts.sources import share, whole

WHO = ["account_id", "livemode", "experiment"]
Z = 1.959964
COUNTS = ["subjects", "recovered"]


def uplift(debts: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """The difference of each arm to its control, with an interval of 95 %."""
    arms = pd.concat([_retries(debts), _subjects(messages)])
    can_control = (arms.experiment != "retries") | (arms.arm == "holdout")
    control = arms[can_control].sort_values("arm").drop_duplicates(WHO)
    control = control.rename(columns={name: f"control_{name}" for name in ("arm", *COUNTS)})
    found = arms.merge(control, on=WHO, how="left")
    found = found[found.arm != found.control_arm]
    found["recovery_rate"] = found.recovered / found.subjects
    found["control_recovery_rate"] = share(found.control_recovered, found.control_subjects)
    found["uplift"] = found.recovery_rate - found.control_recovery_rate
    spread = Z * np.sqrt(
        _variance(found.recovery_rate, found.subjects)
        + _variance(found.control_recovery_rate, found.control_subjects)
    )
    return found.assign(
        control_arm=found.control_arm.fillna("no holdout"),
        control_subjects=whole(found.control_subjects),
        control_recovered=whole(found.control_recovered),
        uplift_low=found.uplift - spread,
        uplift_high=found.uplift + spread,
    )


def _variance(rate: pd.Series, number: pd.Series) -> pd.Series:
    return rate * (1 - rate) / number


def _retries(debts: pd.DataFrame) -> pd.DataFrame:
    cases = debts[debts.case_id.notna() & debts.move.isin(("retry", "both"))]
    cases = cases.assign(experiment="retries", arm=cases.experiment_arm.replace("none", "treated"))
    grouped = cases.groupby([*WHO, "arm"]).is_recovered
    return grouped.agg(subjects="size", recovered="sum").reset_index()


def _subjects(messages: pd.DataFrame) -> pd.DataFrame:
    sent = messages[messages.sent_count & messages.variant.notna()]
    experiment = "subject of " + sent.template + ", mail " + sent.step.astype("str")
    grouped = sent.assign(experiment=experiment, arm=sent.variant).groupby([*WHO, "arm"]).followed_count
    return grouped.agg(subjects="size", recovered="sum").reset_index()
