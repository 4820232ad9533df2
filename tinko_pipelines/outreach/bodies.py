"""What each message says, fixed by its first claim: sent again it is the same to the byte, and a person can read it.

It is sealed with the secret of the state folder, since it holds what nobody should find in a ledger: the link to pay by.
"""

import os
import zlib
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cache
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, select

from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger.schema import message, message_body
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

MOST_BYTES = 262_144
"""No mail of ours is nearly so long."""
_SHORTEST = 6
_NONCE_BYTES = 12


def seal(body: bytes, message_id: str, salt: bytes) -> bytes:
    """A body as the ledger keeps it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(salt).encrypt(nonce, zlib.compress(body), message_id.encode())


def opened(content: bytes, message_id: str, salt: bytes) -> bytes | None:
    """A kept body as it was sent; None where it was sealed in another state folder."""
    nonce, sealed = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
    try:
        packed = _cipher(salt).decrypt(nonce, sealed, message_id.encode())
    except (InvalidTag, ValueError):
        return None
    return zlib.decompressobj().decompress(packed, MOST_BYTES)


@cache
def _cipher(salt: bytes) -> AESGCM:
    return AESGCM(sha256(b"tinko mail body" + salt).digest())


def fix(connection: Connection, row: dict[str, Any], sealed: bytes, at: datetime) -> None:
    """Keep what a message says, unless it was claimed and so fixed before."""
    # What ignores a row that is there is compiled anew each time, which takes longer than the rest.
    first = row["fence"] == 0
    connection.execute(
        message_body.insert() if first else insert_ignoring(connection.dialect.name, message_body),
        {
            "message_id": row["id"],
            "case_id": row["case_id"],
            "account_id": row["account_id"],
            "content": sealed,
            "sha256": sha256(sealed).hexdigest(),
            "made_at": at,
        },
    )


def fixed(ledger: Ledger, message_id: str, salt: bytes) -> bytes | None:
    """What a message says; None before its first claim, after its person was erased, and in another state folder."""
    with ledger.glance() as connection:
        query = select(message_body.c.content).where(message_body.c.message_id == message_id)
        content = connection.execute(query).scalar()
    return None if content is None else opened(content, message_id, salt)


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


def shown(ledger: Ledger, reference: str, salt: bytes) -> dict[str, Any]:
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
    body = fixed(ledger, row["id"], salt)
    return {
        "message": row,
        **(readable(body) if body is not None else {"headers": {}, "text": "", "html": ""}),
    }
