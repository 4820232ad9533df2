"""The facts of what we did: a row for each attempt and for each mail, with what the rates sum up of it."""

from __future__ import annotations

import pandas as pd

from benchmarks.reports.pandas_marts.efforts import Efforts
from benchmarks.reports.pandas_marts.sources import DEBT, MAIL_CREDIT_DAYS, Sources, whole, yes

ATTEMPT_COLUMNS = """
attempt_id case_id account_id livemode debt_id cohort_month n executed_n is_last_of_lost operation is_by_link object_id
charge_id currency amount_minor category case_decline_code policy_version model_version predicted_chance card_brand state
is_executed is_succeeded forbids_card decline_code advice_code network_decline_code network_advice_code prepared_at called_at settled_at
""".split()
MESSAGE_COLUMNS = """
message_id case_id account_id livemode debt_id cohort_month currency category step kind template locale variant state
is_sent drop_reason due_at sent_at bounce is_case_clicked is_followed_by_payment followed_amount_minor
""".split()


def attempts(efforts: Efforts, debts: pd.DataFrame) -> pd.DataFrame:
    """A row for each attempt of ours."""
    tries = efforts.attempts
    tries["is_own"] = tries.is_executed & ~tries.is_by_link
    own = tries[tries.is_own].sort_values(["case_id", "n"])
    tries["executed_n"] = (own.groupby("case_id").cumcount() + 1).reindex(tries.index)
    tries["predicted_chance"] = _predicted(tries[~tries.is_by_link], efforts.planned)
    of_case = efforts.cases[[*DEBT, "case_id", "category", "decline_code", "policy_version", "model_version"]]
    of_case = of_case.rename(columns={"decline_code": "case_decline_code"})
    of_debt = debts[[*DEBT, "cohort_month", "is_closed", "outcome", "own_attempts"]]
    told = of_case.merge(of_debt, on=DEBT, how="left").drop(columns="account_id")
    tries = tries.merge(told, on="case_id", how="left")
    is_lost = yes(tries.is_closed) & (tries.outcome == "owed") & ~tries.forbids_card
    is_won = tries.state == "succeeded"
    return tries.assign(
        is_last_of_lost=is_lost & (tries.executed_n == tries.own_attempts),
        is_succeeded=is_won,
        executed_count=tries.is_own,
        succeeded_count=tries.is_own & is_won,
        executed_amount_minor=tries.amount_minor.where(tries.is_own, 0),
        succeeded_amount_minor=tries.amount_minor.where(tries.is_own & is_won, 0),
    )


def _predicted(tries: pd.DataFrame, planned: pd.DataFrame) -> pd.Series:
    """The chance of the last moment planned at or before the call, less than half a day earlier."""
    called = tries.loc[tries.called_at.notna(), ["case_id", "called_at"]].rename_axis("row").reset_index()
    found = pd.merge_asof(
        called.sort_values("called_at"),
        planned.dropna().sort_values("planned_at"),
        by="case_id",
        left_on="called_at",
        right_on="planned_at",
        tolerance=pd.Timedelta(hours=12) - pd.Timedelta(microseconds=1),
    )
    return found.set_index("row").predicted_chance


def messages(sources: Sources, efforts: Efforts, debts: pd.DataFrame) -> pd.DataFrame:
    """A row for each mail."""
    links = sources.ledger("recovery_link", ["case_id", "clicks"])
    of_case = efforts.cases[[*DEBT, "case_id", "currency", "category"]]
    of_debt = debts[[*DEBT, "cohort_month", "recovered_at", "recovered_amount_minor"]]
    told = of_case.merge(of_debt, on=DEBT, how="left").drop(columns="account_id")
    mails = efforts.messages.merge(told, on="case_id", how="left")
    is_sent, until = mails.state == "sent", mails.sent_at + pd.Timedelta(days=MAIL_CREDIT_DAYS)
    is_followed = is_sent & mails.recovered_at.between(mails.sent_at, until)
    is_clicked = mails.case_id.isin(links.case_id[links.clicks > 0])
    is_dunning = mails.kind == "dunning"
    followed = whole(mails.recovered_amount_minor.where(is_followed))
    return mails.assign(
        is_sent=is_sent,
        is_case_clicked=is_clicked,
        is_followed_by_payment=is_followed,
        followed_amount_minor=followed,
        sent_count=is_sent & is_dunning,
        followed_count=is_followed & is_dunning,
        bounced_count=is_sent & mails.bounce.notna(),
        clicked_count=is_sent & is_clicked,
        dropped_count=mails.state == "dropped",
        troubled_count=mails.state.isin(("failed", "in_doubt")),
    )
