"""Addresses nothing is sent to, by their keyed hashes alone. That it holds is the database's business, at the claim."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from tinko_pipelines.ledger.schema import suppression
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

REASONS = ("hard_bounce", "complaint", "unsubscribed", "by_hand")


def suppress(ledger: Ledger, address_hmac: str, reason: str, at: datetime) -> bool:
    """Send nothing to this address any more, from no account; whether that is new. The first reason stays."""
    values = {"address_hmac": address_hmac, "reason": reason, "at": at}
    with ledger.write() as connection:
        added = insert_ignoring(ledger.dialect, suppression).returning(suppression.c.reason)
        return connection.execute(added, values).first() is not None


def allow(ledger: Ledger, address_hmac: str) -> str | None:
    """Let mails go to this address again; why none did, None where they did anyhow."""
    reason = reason_of(ledger, address_hmac)
    with ledger.write() as connection:
        connection.execute(suppression.delete().where(suppression.c.address_hmac == address_hmac))
    return reason


def reason_of(ledger: Ledger, address_hmac: str) -> str | None:
    """Why nothing is sent to this address; None where mails are."""
    query = select(suppression.c.reason).where(suppression.c.address_hmac == address_hmac)
    with ledger.glance() as connection:
        reason: str | None = connection.execute(query).scalar()
    return reason


def listed(ledger: Ledger, limit: int) -> list[dict[str, Any]]:
    """The newest of them first."""
    with ledger.read() as connection:
        query = select(suppression).order_by(suppression.c.at.desc(), suppression.c.address_hmac).limit(limit)
        return [dict(row) for row in connection.execute(query).mappings()]
