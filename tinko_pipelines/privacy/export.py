"""Everything that is kept of one person as one document, for who asks what that is. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

from tinko_pipelines.errors import InputError
from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger import erasure
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.bodies import opened, readable
from tinko_pipelines.privacy.books import Books
from tinko_pipelines.privacy.person import Person
from tinko_pipelines.privacy.shelves import Shelves


def everything(
    lake: Lake, ledger: Ledger, outbox: Path, person: Person, now: datetime, salt: bytes
) -> dict[str, Any]:
    """Rows of lake and ledger by table, objects as Stripe sent them, mails; raises InputError where there is nothing."""
    refuse_unknown(ledger, person)
    his = Erased(map(hashed, person.ids))
    shelves = Shelves(lake, person.account_id, his)
    books = Books(ledger, person.account_id, his).rows()
    return {
        "customer": person.customer_id,
        "account": person.account_id,
        "as_of": now,
        "lake": {name: rows for name in OBJECTS if (rows := shelves.rows(name))},
        "set_aside": shelves.set_aside(),
        "stripe_objects": list(shelves.objects()),
        "ledger": {name: rows for name, rows in books.items() if rows and name != "message_body"},
        "mails_as_written": [_written(row, salt) for row in books["message_body"] if row["content"]],
        "mails": [_mail(path) for path in mails_of(outbox, (row["id"] for row in books["message"]))],
    }


def refuse_unknown(ledger: Ledger, person: Person) -> None:
    """Raise InputError for a customer of whom nothing is kept, saying whether he was erased."""
    if person.ids:
        return
    if hashed(person.customer_id) in erasure.known(ledger, person.account_id):
        raise InputError(f"customer {person.customer_id!r} was erased: nothing of him is kept")
    raise InputError(
        f"nothing is kept of a customer {person.customer_id!r} in account {person.account_id!r}:"
        " give the id as Stripe shows it, such as cus_…"
    )


def mails_of(outbox: Path, message_ids: Iterable[str]) -> list[Path]:
    """The files of these messages, those half-written included."""
    return [
        path
        for one in message_ids
        for path in (outbox / f"{one}.eml", outbox / f".{one}.partial")
        if path.exists()
    ]


def _written(row: dict[str, Any], salt: bytes) -> dict[str, Any]:
    body = opened(row["content"], row["message_id"], salt)
    return {"message_id": row["message_id"], **(readable(body) if body is not None else {})}


def _mail(path: Path) -> dict[str, Any]:
    mail = message_from_bytes(path.read_bytes(), policy=default)
    body = mail.get_body(("plain",))
    return {
        "headers": {name: str(value) for name, value in mail.items()},
        "text": body.get_content() if body is not None else "",
    }
