"""Rates of recovery by cohort and by what the debts, the attempts and the mails have in common; and what it cost."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmarks.reports.pandas_marts.sources import (
    MAIL_COST_MINOR,
    MATURE_DAYS,
    NETWORK_FEE_PER_ATTEMPT_MINOR,
    month_of,
    share,
    summed,
)

COHORT = ["account_id", "livemode", "currency", "cohort_month"]
RECOVERY = [
    "failed_count", "failed_amount_minor", "recovered_count", "recovered_amount_minor", "closed_count",
    "closed_amount_minor", "lost_count", "lost_amount_minor",
]  # fmt: skip
EFFORT = ["own_attempts", "messages_sent"]
OPEN = ["open_count", "open_amount_minor", "in_recovery_count", "in_recovery_amount_minor"]
NEVER_RETRIED = ["never_retried_lost_count", "never_retried_lost_amount_minor"]


def of_debts(debts: pd.DataFrame, as_of: pd.Timestamp) -> Iterator[tuple[str, pd.DataFrame]]:
    """The marts that sum up failed payments alone."""
    yield "recovery_cohorts", _cohorts(debts, as_of)
    by_code = _recovery(debts, [*COHORT, "decline_code", "category"], [*OPEN, *EFFORT, *NEVER_RETRIED])
    yield "recovery_by_decline_code", by_code
    yield "recovery_by_category", _recovery(debts, [*COHORT, "category", "move"], EFFORT)
    yield "recovery_by_method", _methods(debts)
    yield "verdict_quality", _verdicts(debts)


def of_efforts(
    debts: pd.DataFrame, attempts: pd.DataFrame, messages: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The marts that sum up attempts and mails."""
    tries = attempts[attempts.is_own]
    yield "recovery_by_attempt_number", _attempt_numbers(tries)
    tries = tries[tries.called_at.notna()]
    yield "recovery_by_hour", _hours(tries)
    yield "model_performance", _models(tries)
    yield "recovery_by_message_step", _steps(messages)
    yield "retry_costs", _costs(debts, attempts, messages)


def _recovery(debts: pd.DataFrame, by: list[str], more: list[str]) -> pd.DataFrame:
    found = summed(debts, by, [*RECOVERY, *more])
    return found.assign(
        recovery_rate_count=share(found.recovered_count, found.failed_count),
        recovery_rate_amount=share(found.recovered_amount_minor, found.failed_amount_minor),
        recovery_rate_closed_count=share(found.recovered_count, found.closed_count),
        recovery_rate_closed_amount=share(found.recovered_amount_minor, found.closed_amount_minor),
    )


def _cohorts(debts: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    found = _recovery(debts, COHORT, ["paid_amount_minor", "reversed_amount_minor", "restated_count"])
    last = debts.groupby(COHORT, dropna=False).agg(
        last_restated_at=("restated_at", "max"), last_failure_at=("first_failed_at", "max")
    )
    found = found.merge(last, on=COHORT)
    return found.assign(is_mature=found.last_failure_at <= as_of - pd.Timedelta(days=MATURE_DAYS))


def _methods(debts: pd.DataFrame) -> pd.DataFrame:
    kept = debts[debts.is_recovered]
    kept = kept.assign(payment_method_type=kept.payment_method_type.fillna("unknown"))
    sums = ["recovered_count", "recovered_amount_minor"]
    found = summed(kept, [*COHORT, "recovered_by", "payment_method_type"], sums)
    found[[f"all_{name}" for name in sums]] = found.groupby(COHORT, dropna=False)[sums].transform("sum")
    return found.assign(
        share_count=share(found.recovered_count, found.all_recovered_count),
        share_amount=share(found.recovered_amount_minor, found.all_recovered_amount_minor),
    )


def _verdicts(debts: pd.DataFrame) -> pd.DataFrame:
    by = ["account_id", "livemode", "cohort_month", "verdict_source", "verdict_rule", "category", "move"]
    judged = debts.assign(
        verdict_source=debts.verdict_source.fillna("none"),
        verdict_rule=debts.verdict_rule.fillna("none"),
        recovered_by_own_retry_count=debts.recovered_by == "own_retry",
        recovered_against_verdict_count=debts.move.isin(("stop", "fix_config")) & debts.is_recovered,
        unknown_count=debts.category == "unknown",
        judged_count=debts.verdict_confidence.notna(),
    )
    sums = [
        "failed_count", "recovered_count", "recovered_by_own_retry_count", "recovered_against_verdict_count",
        "unknown_count", "judged_count", "verdict_confidence",
    ]  # fmt: skip
    found = summed(judged, by, sums)
    found["recovery_rate_count"] = share(found.recovered_count, found.failed_count)
    found["mean_confidence"] = share(found.pop("verdict_confidence"), found.pop("judged_count"))
    return found


def _attempt_numbers(tries: pd.DataFrame) -> pd.DataFrame:
    tries = tries.drop(columns="decline_code").rename(
        columns={"case_decline_code": "decline_code", "executed_n": "attempt_number"}
    )
    tries = tries.assign(
        stopped_count=tries.is_last_of_lost,
        stopped_amount_minor=tries.amount_minor.where(tries.is_last_of_lost, 0),
    )
    sums = [
        "executed_count", "succeeded_count", "executed_amount_minor", "succeeded_amount_minor", "stopped_count",
        "stopped_amount_minor",
    ]  # fmt: skip
    found = summed(tries, [*COHORT, "decline_code", "category", "attempt_number"], sums)
    return found.assign(success_rate=share(found.succeeded_count, found.executed_count))


def _hours(tries: pd.DataFrame) -> pd.DataFrame:
    called = tries.called_at.dt
    tries = tries.assign(weekday=called.dayofweek + 1, hour_of_day=called.hour)
    sums = ["executed_count", "succeeded_count", "succeeded_amount_minor"]
    found = summed(tries, [*COHORT, "weekday", "hour_of_day"], sums)
    return found.assign(success_rate=share(found.succeeded_count, found.executed_count))


def _models(tries: pd.DataFrame) -> pd.DataFrame:
    by = ["account_id", "livemode", "called_month", "model_version", "policy_version", "category"]
    is_predicted = tries.predicted_chance.notna()
    tries = tries.assign(
        called_month=month_of(tries.called_at),
        model_version=tries.model_version.fillna("no model"),
        predicted_count=is_predicted,
        predicted_succeeded=is_predicted & tries.is_succeeded,
        squared=(tries.predicted_chance - tries.is_succeeded) ** 2,
    )
    sums = [
        "executed_count", "succeeded_count", "predicted_count", "predicted_chance", "predicted_succeeded", "squared"
    ]  # fmt: skip
    found = summed(tries, by, sums)
    number = found.predicted_count
    return found.assign(
        success_rate=share(found.succeeded_count, found.executed_count),
        mean_predicted_chance=share(found.pop("predicted_chance"), number),
        predicted_success_rate=share(found.pop("predicted_succeeded"), number),
        brier_score=share(found.pop("squared"), number),
    )


def _steps(messages: pd.DataFrame) -> pd.DataFrame:
    sums = [
        "sent_count", "followed_count", "followed_amount_minor", "bounced_count", "clicked_count", "dropped_count",
        "troubled_count",
    ]  # fmt: skip
    found = summed(messages[messages.kind == "dunning"], [*COHORT, "category", "template", "step"], sums)
    return found.assign(payment_rate=share(found.followed_count, found.sent_count))


def _costs(debts: pd.DataFrame, attempts: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    of_debts = [
        "recovered_count", "recovered_amount_minor", "reversed_amount_minor", "disputed_count", "disputed_amount_minor"
    ]  # fmt: skip
    of_attempts = ["executed_count", "succeeded_count"]
    parts = (
        (debts, of_debts),
        (attempts, of_attempts),
        (messages[messages.currency.notna()], ["sent_count"]),
    )
    columns = [*of_debts, *of_attempts, "sent_count"]
    found = summed(pd.concat([summed(frame, COHORT, sums) for frame, sums in parts]), COHORT, columns)
    found[columns] = found[columns].astype("int64")
    executed, sent = found.pop("executed_count"), found.pop("sent_count")
    fee, postage = executed * NETWORK_FEE_PER_ATTEMPT_MINOR, sent * MAIL_COST_MINOR
    return found.rename(
        columns={
            "disputed_count": "disputes_after_recovery_count",
            "disputed_amount_minor": "disputes_after_recovery_amount_minor",
        }
    ).assign(
        executed_attempts=executed,
        declined_attempts=executed - found.pop("succeeded_count"),
        messages_sent=sent,
        network_fee_minor=fee,
        mail_cost_minor=postage,
        attempts_per_recovery=share(executed, found.recovered_count),
        messages_per_recovery=share(sent, found.recovered_count),
        cost_per_recovered_unit=share(fee + postage, found.recovered_amount_minor),
    )
