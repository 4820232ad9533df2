"""What must not be and yet was seen: written down once while it lasts, for a person to settle."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.ledger.schema import anomaly
from tinko_pipelines.ledger.store import Ledger, insert_ignoring


def note(
    connection: Connection, account_id: str, kind: str, subject: str, at: datetime, **details: Any
) -> bool:
    """Open an anomaly unless the same one is open; `details` are further columns. Whether it is new."""
    row = {"account_id": account_id, "kind": kind, "subject": subject, "at": at, **details}
    added = insert_ignoring(connection.dialect.name, anomaly).values(**row).returning(anomaly.c.id)
    return connection.execute(added).first() is not None


def still_open(ledger: Ledger, account_id: str | None = None) -> list[dict[str, Any]]:
    """Every anomaly nobody has settled, oldest first."""
    query = select(anomaly).where(anomaly.c.resolved_at.is_(None)).order_by(anomaly.c.id)
    if account_id is not None:
        query = query.where(anomaly.c.account_id == account_id)
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
