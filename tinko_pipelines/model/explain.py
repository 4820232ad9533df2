"""Why a case is retried when it is, in words and numbers for a person. Plans nothing."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from tinko_pipelines.model.foresight import CASE_SCHEMA, ModelForesight, case_table
from tinko_pipelines.retry.replan import Plan
from tinko_pipelines.retry.timing import Question, Row

HOURS = 168
BEST = 5
LEFT_OUT = ("attempt_id", "account_id", "debt_id", "attempted_at", "source", "authenticated", "processor")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a model sees in the next 168 hours: chances by hour, the best ones, and what they rest on."""

    best_hours: list[dict[str, Any]]
    mean_chance: float
    contributions: list[dict[str, Any]]
    hours: list[dict[str, Any]]


def version_in(policy_version: str | None) -> str | None:
    """The model's version in a plan's policy version; None for one by the ladder alone."""
    _, found, name = str(policy_version or "").partition("+timing:")
    return name if found else None


def plan_told(case: Mapping[str, Any]) -> list[str]:
    """For each retry of a plan why it is when it is."""
    plan = Plan.of(str(case["plan"]))
    told = []
    for at, rung, chance in zip(plan.times, plan.rungs, plan.chances, strict=True):
        if chance is None:
            told.append(f"{at:%Y-%m-%d %H:%M} UTC: as the ladder for {case['category']} has it")
        elif at == rung:
            told.append(f"{at:%Y-%m-%d %H:%M} UTC: the ladder's own hour is the best, chance {chance:.3f}")
        else:
            hours = (at - rung).total_seconds() / 3600
            told.append(
                f"{at:%Y-%m-%d %H:%M} UTC: {abs(hours):.0f} hours {'after' if hours > 0 else 'before'} the ladder's"
                f" {rung:%m-%d %H:%M}, where the chance is best: {chance:.3f}"
            )
    return told


def outlook(foresight: ModelForesight, row: Row, others: Sequence[Row], now: datetime) -> Outlook:
    """The case's chances hour by hour, and which of its properties they rest on, beside the usual ones of `others`."""
    first = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    moments = tuple(first + timedelta(hours=hour) for hour in range(HOURS))
    chances = [float(one) for one in (foresight.chances([Question(row, moments)])[0] or [])]
    hours: list[dict[str, Any]] = [
        {"at": at, "chance": round(chance, 4)} for at, chance in zip(moments, chances, strict=True)
    ]
    best = sorted(hours, key=lambda hour: (-float(hour["chance"]), hour["at"]))[:BEST]
    contributions = _contributions(foresight, row, others, best[0]["at"])
    return Outlook(best, round(statistics.fmean(chances), 4), contributions, hours)


def _contributions(
    foresight: ModelForesight, row: Row, others: Sequence[Row], at: datetime
) -> list[dict[str, Any]]:
    """By how much the chance at that hour falls when a property is made the usual one, or a person unknown."""
    case = case_table([row], foresight.now)
    crowd = case_table(list(others) or [row], foresight.now)
    names = [name for name in CASE_SCHEMA.names if name not in LEFT_OUT and case[name][0].as_py() is not None]
    usual = {name: _usual(name, crowd) for name in names}
    changed = [_with(case, name, usual[name]) for name in names]
    table = pa.concat_tables([case, *changed])
    scores = foresight.model.score(table, [at], foresight.history, foresight.now)[:, 0]
    found = [
        {"property": name, "value": str(case[name][0].as_py()), "usual": str(usual[name]),
         "adds": round(float(scores[0] - score), 4)}
        for name, score in zip(names, scores[1:], strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-abs(float(str(one["adds"]))), str(one["property"])))[:BEST]


def _usual(name: str, crowd: pa.Table) -> Any:
    """The median or the most frequent value; nobody for who it is about, since there is no usual person."""
    if name in ("customer_id", "card_fingerprint"):
        return None
    values = [value for value in crowd[name].to_pylist() if value is not None]
    if isinstance(values[0], str):
        return Counter(values).most_common(1)[0][0]
    return statistics.median_low(values)


def _with(case: pa.Table, name: str, value: Any) -> pa.Table:
    place = case.column_names.index(name)
    kind = CASE_SCHEMA.field(name)
    return case.set_column(place, kind, pa.array([value], kind.type))
