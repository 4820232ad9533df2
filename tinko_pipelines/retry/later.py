"""A customer's "charge me on that day": his case's next retry waits for it, inside its plan, and its history says so."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tinko_pipelines.ledger import cases, links
from tinko_pipelines.ledger.schema import BLOCKING, attempt, case_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.settle import load_case

ACTOR = "link"
KIND = "postponed"
MOST = 10
"""So often a case is put off; each time stays in its history for ever."""


@dataclass(frozen=True, slots=True)
class Window:
    """The days a customer may choose from, first and last; a retry on an earlier one is not planned anyway."""

    first: date
    last: date


def window(connection: Connection, case: dict[str, Any], now: datetime) -> Window | None:
    """Between which days the next retry can be put off; None where none is planned, or one is under way."""
    due: datetime | None = case["due_at"]
    ends: datetime = case["plan_ends_at"]
    ahead = case["executed_attempts"] < case["max_attempts"] and case["move"] in ("retry", "both")
    if case["state"] != "open" or not ahead or due is None or due >= ends:
        return None
    blocking = attempt.c.state.in_(BLOCKING)
    if connection.execute(select(attempt.c.id).where(attempt.c.case_id == case["id"], blocking)).first():
        return None
    first = max(due.date(), now.date() + timedelta(days=1))
    last = (
        ends.date() if datetime.combine(ends.date(), due.timetz()) < ends else ends.date() - timedelta(days=1)
    )
    return Window(first, last) if first <= last else None


def postpone(ledger: Ledger, link: dict[str, Any], day: date, now: datetime) -> str:
    """Put the next retry off to `day`, at the hour it was planned for: `done`, or why not (`closed`, `no_window`, `outside`)."""
    with ledger.write() as connection:
        case = load_case(ledger, connection, link["case_id"])
        if links.standing(link, case, now) != "good":
            return "closed"
        found = window(connection, case, now)
        if found is None:
            return "no_window"
        if not found.first <= day <= found.last:
            return "outside"
        at = max(case["due_at"], datetime.combine(day, case["due_at"].timetz()))
        if at == case["due_at"] == case["not_before"]:
            return "done"
        told = select(func.count()).where(case_event.c.case_id == case["id"], case_event.c.kind == KIND)
        if connection.execute(told).scalar_one() >= MOST:
            return "no_window"
        cases.change(connection, case, now, not_before=at, due_at=at)
        cases.record(
            connection,
            case,
            now,
            ACTOR,
            KIND,
            detail=f"the customer asks for {at.date()}, it was {case['due_at']:%F %R}",
        )
        return "done"
