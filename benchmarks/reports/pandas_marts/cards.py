"""Refusals by our limits, and attempts above what card networks allow for nothing."""

from __future__ import annotations

import pandas as pd

from benchmarks.reports.pandas_marts.sources import Sources, day_of, lower, whole, yes

RULE = ["rule", "network", "keyed_by", "max_attempts", "window_hours", "valid_from", "valid_until", "excess_fee_minor", "fee_currency"]  # fmt: skip
CARD = ["account_id", "card_fingerprint", "network"]
EVENT = [
    "event_id",
    "is_made",
    "is_ours",
    "account_id",
    "livemode",
    "network",
    "card_fingerprint",
    "happened_at",
]
BY_DAY = ["account_id", "livemode", "day", "network", "rule"]


def compliance(sources: Sources, cases: pd.DataFrame) -> pd.DataFrame:
    """By day and rule: how often a limit refused, and what was or would have been in excess."""
    rules = sources.ledger("cap_rule", RULE)
    of_case = cases[
        ["case_id", "account_id", "livemode", "network", "card_fingerprint", "currency", "amount_minor"]
    ]
    refusals = sources.ledger("cap_refusal", ["case_id", "rule", "at"], id="refusal_id")
    refusals = refusals.merge(of_case, on="case_id")
    excess = _by_rule(_excess(rules, _events(sources, rules, refusals)))
    found = excess.merge(_refused(rules, refusals), on=BY_DAY, how="outer")
    counts = [str(name) for name in found if name not in {*BY_DAY, "fee_currency"}]
    return found.assign(**{name: whole(found[name]) for name in counts})


def _refused(rules: pd.DataFrame, refusals: pd.DataFrame) -> pd.DataFrame:
    network = refusals.rule.map(rules.groupby("rule").network.min()).fillna("any")
    found = refusals.assign(network=network, day=day_of(refusals["at"])).groupby(BY_DAY).case_id
    return found.agg(refusals="size", refused_cases="nunique").reset_index()


def _events(sources: Sources, rules: pd.DataFrame, refusals: pd.DataFrame) -> pd.DataFrame:
    """What networks refused, and what we did not even try; of known cards."""
    columns = [
        "charge_id", "account_id", "livemode", "card_fingerprint", "card_brand", "currency", "amount_minor", "at",
        "declined", "ours",
    ]  # fmt: skip
    made = sources.ledger("network_attempt", columns)
    made = made[yes(made.declined) & made.card_fingerprint.notna()]
    made = made.rename(columns={"charge_id": "event_id", "card_brand": "network", "ours": "is_ours"})
    made = made.assign(is_made=True, network=lower(made.network), is_ours=yes(made.is_ours))
    by_mail = rules.loc[rules.network == "mail", "rule"]
    kept = refusals[refusals.card_fingerprint.notna() & ~refusals.rule.isin(by_mail)]
    kept = kept.assign(event_id="refusal:" + kept.refusal_id.astype("str"), is_made=False, is_ours=True)
    columns = [*EVENT[:-1], "currency", "amount_minor", "at"]
    return pd.concat([made[columns], kept[columns]]).rename(columns={"at": "happened_at"})


def _excess(rules: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """The events before which a rule was used up within its window, each with the dearest such rule."""
    dear = rules[rules.excess_fee_minor.notna()]
    windows = dear[["network", "keyed_by", "window_hours"]].drop_duplicates()
    counted = [
        _declined_before(events[events.network == network], keyed_by, hours)
        for network, keyed_by, hours in windows.itertuples(index=False)
    ]
    if not counted:
        return events.iloc[:0].assign(rule="", fee_minor=0, fee_currency="")
    found = pd.concat(counted).merge(dear, on=["network", "keyed_by", "window_hours"])
    is_valid = (found.happened_at >= found.valid_from) & ~(found.happened_at >= found.valid_until)
    found = found[is_valid & (found.declined_before >= found.max_attempts)]
    found = found.sort_values(["excess_fee_minor", "rule"], ascending=False, kind="stable")
    found = found.drop_duplicates([*EVENT, "fee_currency"])
    return found.rename(columns={"excess_fee_minor": "fee_minor"})


def _declined_before(events: pd.DataFrame, keyed_by: str, hours: int) -> pd.DataFrame:
    """How many others of the same card, and of the same amount where the rule says so, were declined within the window."""
    key = [*CARD, "currency", "amount_minor"] if keyed_by == "fingerprint_amount" else CARD
    events = events.sort_values("happened_at")
    declined = events.loc[events.is_made, [*key, "happened_at"]].rename(columns={"happened_at": "at"})
    declined["number"] = declined.groupby(key).cumcount() + 1

    def by(moments: pd.Series) -> pd.Series:
        asked = events[key].assign(at=moments)
        return whole(pd.merge_asof(asked, declined, on="at", by=key).number).set_axis(events.index)

    within = by(events.happened_at) - by(events.happened_at - pd.Timedelta(hours=hours)) - events.is_made
    return events.assign(keyed_by=keyed_by, window_hours=hours, declined_before=within)


def _by_rule(excess: pd.DataFrame) -> pd.DataFrame:
    is_made = excess.is_made.astype(bool)
    counted = excess.assign(
        day=day_of(excess.happened_at),
        excess_attempts=is_made,
        own_excess_attempts=is_made & excess.is_ours.astype(bool),
        avoided_attempts=~is_made,
        incurred_fee_minor=excess.fee_minor.where(is_made, 0),
        avoided_fee_minor=excess.fee_minor.where(~is_made, 0),
    )
    sums = [
        "excess_attempts",
        "own_excess_attempts",
        "avoided_attempts",
        "incurred_fee_minor",
        "avoided_fee_minor",
    ]
    grouped = counted.groupby(BY_DAY)
    return grouped[sums].sum().assign(fee_currency=grouped.fee_currency.min()).reset_index()
