"""Which messages are due, each with what it is about, and how long each is of use. Changes nothing."""

from datetime import datetime
from typing import Any

from sqlalchemy import Exists, exists, literal, select, tuple_

from tinko_pipelines.ledger.schema import (
    MAILED,
    SESSION,
    UNRESOLVED,
    attempt,
    card_notice,
    message,
    recovery_case,
)
from tinko_pipelines.ledger.store import Ledger

BATCH = 200


def page_open(case_id: Any) -> Exists:
    """Whether somebody has a page open on which he can pay the case: he is not reminded meanwhile."""
    unresolved = attempt.c.state.in_(UNRESOLVED)
    return exists().where(attempt.c.case_id == case_id, attempt.c.operation == SESSION, unresolved)


def due(
    ledger: Ledger, now: datetime, account_id: str, livemode: bool, after: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The account's next scheduled messages that are due, each with its case or card; at most `BATCH`, oldest first.

    Those behind the message `after` when one is given. `first_header` names the first mail that its case was sent.
    """
    columns: list[Any] = [message]
    columns += [column.label(f"case_{column.name}") for column in recovery_case.c if column.name != "id"]
    columns += [column.label(f"notice_{column.name}") for column in card_notice.c if column.name != "id"]
    earlier = message.alias("earlier")
    first = (
        select(earlier.c.message_id_header)
        .where(
            earlier.c.case_id == message.c.case_id,
            earlier.c.step < message.c.step,
            earlier.c.state.in_(MAILED),
        )
        .order_by(earlier.c.step)
        .limit(1)
    )
    columns.append(first.scalar_subquery().label("first_header"))
    query = (
        select(*columns)
        .outerjoin(recovery_case, recovery_case.c.id == message.c.case_id)
        .outerjoin(card_notice, card_notice.c.id == message.c.card_notice_id)
        .where(
            message.c.state == "scheduled",
            message.c.due_at <= now,
            message.c.account_id == account_id,
            message.c.livemode == livemode,
            ~page_open(message.c.case_id),
        )
        .order_by(message.c.due_at, message.c.id)
        .limit(BATCH)
    )
    if after is not None:
        seen = tuple_(literal(after["due_at"], message.c.due_at.type), literal(after["id"]))
        query = query.where(tuple_(message.c.due_at, message.c.id) > seen)
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def case_of(row: dict[str, Any]) -> dict[str, Any]:
    """The case's columns of a row from `due`."""
    return {key.removeprefix("case_"): value for key, value in row.items() if key.startswith("case_")} | {
        "id": row["case_id"]
    }


def over_at(row: dict[str, Any]) -> datetime:
    """From when on the message of a row from `due` is of no use: its case's plan is over, or its card has ended."""
    over: datetime = row["case_plan_ends_at"] or row["notice_expires_at"]
    return over
