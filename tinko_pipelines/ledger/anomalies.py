"""What must not be and yet was seen: written down once while it lasts, for a person to settle."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.ledger.schema import anomaly
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.money import format_minor


def note(
    connection: Connection, account_id: str, kind: str, subject: str, at: datetime, **details: Any
) -> bool:
    """Open an anomaly unless the same one is open; `details` are further columns. Whether it is new."""
    row = {"account_id": account_id, "kind": kind, "subject": subject, "at": at, **details}
    added = insert_ignoring(connection.dialect.name, anomaly).values(**row).returning(anomaly.c.id)
    return connection.execute(added).first() is not None


def paid_twice(
    connection: Connection, case: Mapping[str, Any], charges: Sequence[Mapping[str, Any]], at: datetime
) -> str:
    """Note that the money of a debt has come more than once, oldest charge first; the reason in one sentence.

    Which charge is given back, and whether, is for a person to say: nothing here refunds.
    """
    names = ", ".join(str(charge.get("id")) for charge in charges)
    late = charges[-1]
    left = int(late.get("amount") or 0) - int(late.get("amount_refunded") or 0)
    currency = late.get("currency") or case["currency"]
    reason = f"paid twice: charges {names} have all succeeded"
    note(
        connection,
        case["account_id"],
        "paid_twice",
        case["debt_id"],
        at,
        case_id=case["id"],
        detail=reason,
        proposal=f"refund charge {late.get('id')}: {format_minor(left, currency)}",
        charge_id=late.get("id"),
        amount_minor=left,
        currency=currency,
    )
    return reason


def still_open(ledger: Ledger) -> list[dict[str, Any]]:
    """Every anomaly nobody has settled, oldest first."""
    query = select(anomaly).where(anomaly.c.resolved_at.is_(None)).order_by(anomaly.c.id)
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def settle(connection: Connection, anomaly_id: int, at: datetime, by: str) -> bool:
    """Close one; False when it is not open."""
    done = connection.execute(
        anomaly.update()
        .where(anomaly.c.id == anomaly_id, anomaly.c.resolved_at.is_(None))
        .values(resolved_at=at, resolved_by=by)
    )
    return done.rowcount == 1
