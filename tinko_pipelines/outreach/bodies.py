"""What each message says, fixed by its first claim: sent again it is the same to the byte, and a person can read it."""

import zlib
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, select

from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger.schema import message, message_body
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

MOST_BYTES = 262_144
"""No mail of ours is nearly so long."""
_SHORTEST = 6


def fix(connection: Connection, row: dict[str, Any], body: bytes, at: datetime) -> None:
    """Keep what a message says, unless it was claimed and so fixed before."""
    connection.execute(
        # What was never claimed has no body yet, and the plain statement need not be put together each time.
        message_body.insert()
        if row["fence"] == 0
        else insert_ignoring(connection.dialect.name, message_body),
        {
            "message_id": row["id"],
            "case_id": row["case_id"],
            "account_id": row["account_id"],
            "content": zlib.compress(body),
            "sha256": sha256(body).hexdigest(),
            "made_at": at,
        },
    )


def fixed(ledger: Ledger, message_id: str) -> bytes | None:
    """What a message says; None before its first claim, and after its person was erased."""
    with ledger.glance() as connection:
        query = select(message_body.c.content).where(message_body.c.message_id == message_id)
        content = connection.execute(query).scalar()
    return None if content is None else unpacked(content)


def unpacked(content: bytes) -> bytes:
    """A kept body as it was sent."""
    found = zlib.decompressobj().decompress(content, MOST_BYTES)
    return found


def parsed(body: bytes) -> EmailMessage:
    """A mail as the standard library reads it."""
    return message_from_bytes(body, EmailMessage, policy=default)


def readable(body: bytes) -> dict[str, Any]:
    """A mail's headers, text and HTML."""
    mail = parsed(body)
    parts = {name: mail.get_body((kind,)) for name, kind in (("text", "plain"), ("html", "html"))}
    return {
        "headers": {name: str(value) for name, value in mail.items()},
        **{name: part.get_content() if part is not None else "" for name, part in parts.items()},
    }


def shown(ledger: Ledger, reference: str) -> dict[str, Any]:
    """A message by its id or the beginning of it, with what it said; InputError where that is not one message."""
    exact = select(message).where(message.c.id == reference)
    begins = select(message).where(message.c.id.startswith(reference, autoescape=True)).limit(2)
    with ledger.read() as connection:
        found = connection.execute(exact).mappings().all()
        if not found and len(reference) >= _SHORTEST:
            found = connection.execute(begins).mappings().all()
    if len(found) != 1:
        raise InputError(
            f"{'more than one message is' if found else 'no message is'} called {reference!r}: see `tinko mail list --state all`"
        )
    row = dict(found[0])
    body = fixed(ledger, row["id"])
    return {
        "message": row,
        **(readable(body) if body is not None else {"headers": {}, "text": "", "html": ""}),
    }
