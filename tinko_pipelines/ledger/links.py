"""Recovery links: made, found by their token, counted. Only the hash of a token is kept, so nobody can read one here."""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, func, select

from tinko_pipelines.ledger.schema import recovery_case, recovery_link

TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
MOST_OF_CASE = 100

Row = dict[str, Any]


def digest(token: str) -> str:
    """What the ledger keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def draw(case: Row, now: datetime, days: int) -> tuple[str, Row]:
    """A token, shown here and never again, and the row by which it is known, once that is written down."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, {
        "id": str(uuid4()),
        "case_id": case["id"],
        "account_id": case["account_id"],
        "livemode": case["livemode"],
        "token_sha256": digest(token),
        "amount_minor": case["amount_minor"],
        "currency": case["currency"],
        "created_at": now,
        "expires_at": now + timedelta(days=days),
        "clicks": 0,
    }


def make(connection: Connection, case: Row, now: datetime, days: int) -> str | None:
    """Write down one more link of the case; its token. None above a limit."""
    of_case = select(func.count()).where(recovery_link.c.case_id == case["id"])
    if connection.execute(of_case).scalar_one() >= MOST_OF_CASE:
        return None
    token, row = draw(case, now, days)
    connection.execute(recovery_link.insert(), row)
    return token


def find(connection: Connection, token: str) -> tuple[Row, Row] | None:
    """The link of a token and its case; None for what is no token of ours."""
    if TOKEN.fullmatch(token) is None:
        return None
    found = (
        connection.execute(select(recovery_link).where(recovery_link.c.token_sha256 == digest(token)))
        .mappings()
        .first()
    )
    if found is None:
        return None
    case = connection.execute(select(recovery_case).where(recovery_case.c.id == found["case_id"]))
    return dict(found), dict(case.mappings().one())


def standing(link: Row, case: Row, now: datetime) -> str:
    """`good`, or why nothing is paid by this link: `paid`, `closed`, `human`, `revoked` or `expired`."""
    if link["used_at"] is not None or case["state"] in ("recovered", "paid_elsewhere"):
        return "paid"
    if case["state"] == "needs_human":
        return "human"
    if case["state"] != "open":
        return "closed"
    if link["revoked_at"] is not None:
        return "revoked"
    return "good" if now < link["expires_at"] else "expired"


def opened(connection: Connection, link: Row, now: datetime) -> None:
    """Note that it was looked at for the first time."""
    first = recovery_link.c.first_opened_at.is_(None)
    connection.execute(
        recovery_link.update().where(recovery_link.c.id == link["id"], first).values(first_opened_at=now)
    )


def clicked(connection: Connection, link_id: str, now: datetime) -> int:
    """Note that somebody went on from it to a page at Stripe; how often that was by now."""
    counted = connection.execute(
        recovery_link.update()
        .where(recovery_link.c.id == link_id)
        .values(
            clicks=recovery_link.c.clicks + 1,
            last_clicked_at=now,
            first_opened_at=func.coalesce(
                recovery_link.c.first_opened_at, now, type_=recovery_link.c.first_opened_at.type
            ),
        )
        .returning(recovery_link.c.clicks)
    )
    return int(counted.scalar_one())


def followed(connection: Connection, case_id: str) -> Row | None:
    """The link of the case from which somebody went on last; None where nobody did."""
    found = connection.execute(
        select(recovery_link)
        .where(recovery_link.c.case_id == case_id, recovery_link.c.last_clicked_at.is_not(None))
        .order_by(recovery_link.c.last_clicked_at.desc())
        .limit(1)
    )
    row = found.mappings().first()
    return None if row is None else dict(row)


def used(connection: Connection, link_id: str, now: datetime) -> None:
    """The debt was paid by it: it leads nowhere any more."""
    unused = recovery_link.c.used_at.is_(None)
    connection.execute(
        recovery_link.update().where(recovery_link.c.id == link_id, unused).values(used_at=now)
    )


def revoke(connection: Connection, case_id: str, now: datetime) -> None:
    """Let no link of the case lead anywhere any more."""
    left = recovery_link.c.revoked_at.is_(None) & recovery_link.c.used_at.is_(None)
    connection.execute(
        recovery_link.update().where(recovery_link.c.case_id == case_id, left).values(revoked_at=now)
    )
