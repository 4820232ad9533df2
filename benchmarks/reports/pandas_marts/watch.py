"""What wants looking at now: what is open and due next, what was tried twice, and whether the pipelines keep up."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc

from benchmarks.reports.pandas_marts.efforts import Efforts
from benchmarks.reports.pandas_marts.sources import DEBT, Sources, chosen

FOUND = ["account_id", "livemode", "debt_id", "finding", "happened_at", "times_seen"]
HOUR = pd.Timedelta(hours=1)
DAY = pd.Timedelta(days=1)


def announcements(sources: Sources) -> pd.DataFrame:
    """When Stripe said that it would try an invoice again."""
    is_one = (pc.field("object_type") == "invoice") & pc.field("next_payment_attempt_at").is_valid()
    told = sources.stripe("events", ["object_id", "created_at", "next_payment_attempt_at"], is_one)
    return told.rename(columns={"object_id": "invoice_id", "created_at": "announced_at"})


def at_risk(debts: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """What is open, by how it stands and how old it is."""
    owed = debts[~debts.is_closed]
    age_days = (as_of.tz_convert(None).normalize() - owed.first_failed_on).dt.days
    owed = owed.assign(
        standing=chosen(
            (owed.case_id.isna(), "no case"),
            (owed.case_state == "needs_human", "waits for a person"),
            (owed.move == "wait_stripe", "Stripe retries"),
            otherwise="in recovery",
        ),
        age_band=chosen(
            (age_days < 7, "1: under a week"),
            (age_days < 28, "2: one to four weeks"),
            otherwise="3: four weeks and more",
        ),
    )
    by = ["account_id", "livemode", "currency", "category", "move", "standing", "age_band"]
    found = owed.groupby(by, dropna=False, sort=False).agg(
        open_count=("open_count", "sum"),
        open_amount_minor=("open_amount_minor", "sum"),
        oldest_failed_at=("first_failed_at", "min"),
    )
    return found.reset_index()


def next_retries(efforts: Efforts, as_of: pd.Timestamp) -> pd.DataFrame:
    """Open cases with tries left, and the chance of the next."""
    cases = efforts.cases
    cases = cases[
        (cases.case_state == "open") & cases.due_at.notna() & (cases.executed_attempts < cases.max_attempts)
    ]
    planned = efforts.planned[efforts.planned.planned_at >= as_of - 12 * HOUR].dropna()
    following = (
        planned.sort_values("planned_at").drop_duplicates("case_id").set_index("case_id").predicted_chance
    )
    columns = [
        "account_id", "livemode", "case_id", "debt_id", "currency", "amount_minor", "category", "move", "due_at",
        "executed_attempts", "max_attempts", "policy_version",
    ]  # fmt: skip
    return cases[columns].assign(is_due=cases.due_at < as_of, predicted_chance=cases.case_id.map(following))


def double_retries(
    debts: pd.DataFrame, attempts: pd.DataFrame, charges: pd.DataFrame, announced: pd.DataFrame
) -> pd.DataFrame:
    """Debts that two may have tried at once, or that were paid twice."""
    intent = ["account_id", "payment_intent_id"]
    about = debts[[*DEBT, "livemode", "invoice_id", "payment_intent_id", "is_paid_later", "recovered_by"]]
    is_known = charges.payment_intent_id.isin(about.payment_intent_id.dropna())
    passed = charges.loc[
        is_known & (charges.status == "succeeded") & charges.is_captured, [*intent, "created_at"]
    ]
    twice = (
        passed[passed.duplicated(intent, keep=False)]
        .groupby(intent)
        .created_at.agg(times_seen="size", happened_at="max")
        .reset_index()
    )
    twice = twice.merge(about, on=intent)
    tries = attempts.loc[attempts.is_own, [*DEBT, "case_id", "n", "is_succeeded", "called_at"]]
    tries = tries.sort_values(["case_id", "called_at", "n"])
    tries["called_before"] = tries.groupby("case_id").called_at.shift()
    tries = tries.merge(about, on=DEBT).rename(columns={"called_at": "happened_at"})
    after = tries[
        tries.is_succeeded
        & tries.is_paid_later
        & tries.recovered_by.notna()
        & (tries.recovered_by != "own_retry")
    ]
    soon = tries[tries.happened_at < tries.called_before + HOUR]
    beside = tries[tries.invoice_id.notna()].merge(announced, on=["account_id", "invoice_id"])
    at = beside.next_payment_attempt_at
    is_beside = beside.happened_at.between(at - 2 * HOUR, at + 2 * HOUR)
    beside = beside[(beside.announced_at <= beside.happened_at) & is_beside]
    findings = {
        "attempt of ours after the debt was paid": after,
        "attempts less than an hour apart": soon,
        "attempt of ours within two hours of a retry that Stripe had announced": beside,
    }
    once = [rows.assign(finding=finding, times_seen=1)[FOUND] for finding, rows in findings.items()]
    return pd.concat([twice.assign(finding="two successes of one payment intent")[FOUND], *once])


def health(
    sources: Sources, efforts: Efforts, debts: pd.DataFrame, attempts: pd.DataFrame, messages: pd.DataFrame,
    charges: pd.DataFrame, announced: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    """How new the newest of everything is, and how much is stuck since when."""
    refunds = sources.stripe("refunds", ["created_at"])
    webhooks = sources.ledger("webhook_event", ["account_id", "received_at", "processed_at"])
    anomalies = sources.ledger("anomaly", ["account_id", "at", "resolved_at"])
    cases, now = efforts.cases, sources.as_of
    unknown = attempts.state.isin(("unknown", "processing", "requires_action", "calling"))
    overdue = (messages.state == "scheduled") & (messages.due_at < now - DAY)
    late = (cases.case_state == "open") & (cases.due_at < now - HOUR)
    found = pd.concat(
        [
            _newest("newest charge in the lake", charges, "created_at"),
            _newest("newest retry announcement in the lake", announced, "announced_at"),
            _newest("newest refund in the lake", refunds, "created_at"),
            _newest("newest failed payment", debts, "first_failed_at"),
            _newest("newest attempt", attempts, "called_at"),
            _stuck("attempts of unknown outcome", attempts, "called_at", unknown),
            _newest("newest mail sent", messages, "sent_at"),
            _stuck("mails in doubt", messages, "due_at", messages.state == "in_doubt"),
            _stuck("mails overdue by a day", messages, "due_at", overdue),
            _newest("newest webhook", webhooks, "received_at"),
            _stuck("webhooks not drained", webhooks, "received_at", webhooks.processed_at.isna()),
            _stuck("retries overdue by an hour", cases, "due_at", late),
            _stuck("cases that wait for a person", cases, "created_at", cases.case_state == "needs_human"),
            _stuck("anomalies open", anomalies, "at", anomalies.resolved_at.isna()),
        ]
    )
    hours = (now - found.seen_at).dt.total_seconds() / 3600
    return found.assign(hours_ago=hours, as_of=now)


def _newest(measure: str, rows: pd.DataFrame, moment: str) -> pd.DataFrame:
    found = rows.groupby("account_id", dropna=False)[moment].agg(number="size", seen_at="max")
    return found.reset_index().assign(measure=measure)


def _stuck(measure: str, rows: pd.DataFrame, moment: str, which: pd.Series) -> pd.DataFrame:
    stuck = pd.DataFrame(
        {"account_id": rows.account_id, "number": which, "seen_at": rows[moment].where(which)}
    )
    found = stuck.groupby("account_id", dropna=False).agg(
        number=("number", "sum"), seen_at=("seen_at", "min")
    )
    return found.reset_index().assign(measure=measure)
