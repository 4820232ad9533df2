"""What was done about each case: its plan, attempts and mails, and the sums of them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from benchmarks.reports.pandas_marts.sources import Sources, lower, parsed, yes

CASE = [
    "account_id", "debt_id", "livemode", "currency", "amount_minor", "state", "category", "move", "verdict_source",
    "verdict_rule", "verdict_confidence", "decline_code", "card_fingerprint", "card_brand", "policy_version", "plan",
    "max_attempts", "executed_attempts", "due_at", "not_before", "created_at", "closed_at",
]  # fmt: skip
ATTEMPT = [
    "case_id", "account_id", "livemode", "n", "operation", "object_id", "charge_id", "currency", "amount_minor",
    "card_brand", "state", "executed", "forbids_card", "decline_code", "advice_code", "network_decline_code", "network_advice_code",
    "prepared_at", "called_at", "settled_at",
]  # fmt: skip
MESSAGE = [
    "case_id", "account_id", "livemode", "step", "kind", "template", "locale", "variant", "state", "drop_reason",
    "due_at", "sent_at", "bounce",
]  # fmt: skip
RETRIES_MAX = 20


@dataclass(frozen=True)
class Efforts:
    """Cases with the sums of what was done, planned retries, attempts and mails."""

    cases: pd.DataFrame
    planned: pd.DataFrame
    attempts: pd.DataFrame
    messages: pd.DataFrame


def read(sources: Sources) -> Efforts:
    """All of it, from the export."""
    attempts = sources.ledger("attempt", ATTEMPT, id="attempt_id").rename(columns={"executed": "is_executed"})
    attempts["is_executed"] = yes(attempts.is_executed)
    attempts["is_by_link"] = attempts.operation == "checkout.session"
    messages = sources.ledger("message", MESSAGE, id="message_id")
    cases = sources.ledger("recovery_case", CASE, id="case_id")
    cases = cases.rename(columns={"state": "case_state", "card_brand": "network"})
    cases["network"] = lower(cases.network)
    cases["model_version"] = _model_of(cases.policy_version)
    plan = {"retries": pa.list_(pa.string()), "chances": pa.list_(pa.float64()), "arm": pa.string()}
    plans = parsed(cases.pop("plan"), plan)
    cases["experiment_arm"] = plans.arm.astype("str")
    planned = _planned(cases.loc[cases.max_attempts > 0, "case_id"], plans)
    return Efforts(_with_sums(cases, attempts, messages), planned, attempts, messages)


def _model_of(policies: pd.Series) -> pd.Series:
    known = policies.drop_duplicates()
    models = known.str.extract(r"\+timing:(.*?)(?:\+timing:|$)", expand=False)
    return policies.map(dict(zip(known, models, strict=True))).astype("str")


def _planned(case_ids: pd.Series, plans: pd.DataFrame) -> pd.DataFrame:
    moments = (
        plans.retries.reindex(case_ids.index).dropna().explode().dropna().rename("planned_at").to_frame()
    )
    moments["n"] = moments.groupby(level=0).cumcount()
    moments = moments[moments.n < RETRIES_MAX]
    chances = plans.chances.reindex(case_ids.index).dropna().explode().rename("predicted_chance").to_frame()
    chances["n"] = chances.groupby(level=0).cumcount()
    place = ["case", "n"]
    planned = (
        moments.rename_axis("case")
        .reset_index()
        .merge(chances.rename_axis("case").reset_index(), on=place, how="left")
    )
    return pd.DataFrame(
        {
            "case_id": case_ids.reindex(planned.case).reset_index(drop=True),
            "planned_at": pd.to_datetime(planned.planned_at, utc=True, format="ISO8601").dt.as_unit("us"),
            "predicted_chance": planned.predicted_chance.astype("float64"),
        }
    )


def _with_sums(cases: pd.DataFrame, attempts: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    own = attempts[attempts.is_executed & ~attempts.is_by_link].groupby("case_id").size()
    won = attempts[attempts.state == "succeeded"]
    charges = won.dropna(subset="charge_id").sort_values("charge_id").drop_duplicates("case_id", keep="last")
    sent = messages[(messages.state == "sent") & (messages.kind == "dunning")].groupby("case_id").size()
    return cases.assign(
        own_attempts=cases.case_id.map(own).fillna(0).astype("int64"),
        messages_sent=cases.case_id.map(sent).fillna(0).astype("int64"),
        own_success_at=cases.case_id.map(won.groupby("case_id").settled_at.max()),
        own_charge_id=cases.case_id.map(charges.set_index("case_id").charge_id),
        has_own_success=cases.case_id.isin(won.case_id[~won.is_by_link]),
        has_link_success=cases.case_id.isin(won.case_id[won.is_by_link]),
    )
