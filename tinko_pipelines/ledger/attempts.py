"""Claiming and changing attempts inside the caller's transaction; every later write carries the fence."""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, type_coerce

from tinko_pipelines.errors import StoreError
from tinko_pipelines.ledger import ids
from tinko_pipelines.ledger.leases import lapsed
from tinko_pipelines.ledger.schema import SESSION, UNRESOLVED, attempt
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.ledger.types import UtcDateTime

LONGEST_PAUSE_SECONDS = 180.0
"""A call that was not sent so long after it was cleared is not sent any more, even if nobody has taken it over."""


_OF_CARD = ("card_fingerprint", "card_brand", "customer_id")


def prepare(
    ledger: Ledger,
    connection: Connection,
    case: dict[str, Any],
    params: dict[str, Any],
    *,
    api_version: str,
    owner: str,
    at: datetime,
    lease_seconds: float,
    operation: str | None = None,
) -> dict[str, Any]:
    """Insert the case's next attempt, all that will be sent included; the row as stored.

    A page on which the customer pays is no attempt on a card of ours, so it names none.
    """
    present = type_coerce(ledger.database_moment(), UtcDateTime())
    numbers = select(func.max(attempt.c.n), present).where(attempt.c.case_id == case["id"])
    last, began = connection.execute(numbers).one()
    n = (last or 0) + 1
    frozen = json.dumps(params, sort_keys=True, separators=(",", ":"))
    identity = ids.attempt_id(case["id"], n)
    row: dict[str, Any] = {
        "id": identity,
        "case_id": case["id"],
        "n": n,
        "idempotency_key": ids.idempotency_key(identity),
        "account_id": case["account_id"],
        "livemode": case["livemode"],
        "amount_minor": case["amount_minor"],
        "currency": case["currency"],
        "operation": operation
        or ("invoice.pay" if case["debt_kind"] == "invoice" else "payment_intent.confirm"),
        "object_id": case["live_object_id"],
        "params": frozen,
        "params_sha256": hashlib.sha256(frozen.encode()).hexdigest(),
        "api_version": api_version,
        **{name: None if operation == SESSION else case[name] for name in _OF_CARD},
        "state": "prepared",
        "fence": 1,
        "owner": owner,
        "lease_until": began + timedelta(seconds=lease_seconds),
        "prepared_at": at,
        "poll_count": 0,
        "executed": False,
        "forbids_card": False,
    }
    connection.execute(attempt.insert(), row)
    return dict.fromkeys(attempt.c.keys()) | row


def update(connection: Connection, row: dict[str, Any], **values: Any) -> bool:
    """Write `values` if the fence is still ours; False when somebody else has taken the attempt over."""
    done = connection.execute(
        attempt.update()
        .where(attempt.c.id == row["id"], attempt.c.fence == row["fence"], attempt.c.state == row["state"])
        .values(**values)
    )
    return done.rowcount == 1


def frozen_parameters(row: dict[str, Any]) -> dict[str, Any]:
    """What an attempt sends, read back from its row and held against its hash."""
    if hashlib.sha256(row["params"].encode()).hexdigest() != row["params_sha256"]:
        raise StoreError(f"attempt {row['id']}: its stored parameters do not match their hash; do not charge")
    parameters: dict[str, Any] = json.loads(row["params"])
    return parameters


def held_up(present: datetime, row: dict[str, Any], lease_seconds: float) -> bool:
    """Whether the process was asleep for so long since it took or renewed the lease that what it knows is stale.

    `present` is the database's clock.
    """
    began: datetime = row["lease_until"] - timedelta(seconds=lease_seconds)
    return present - began > timedelta(seconds=LONGEST_PAUSE_SECONDS)


def claim(
    ledger: Ledger,
    connection: Connection,
    attempt_id: str,
    owner: str,
    lease_seconds: float,
    states: Collection[str] = UNRESOLVED,
    **values: Any,
) -> dict[str, Any] | None:
    """Take over an attempt in one of `states` whose lease has lapsed, and set `values`; None when it is not to be had."""
    present = ledger.database_now(connection)
    found = connection.execute(
        attempt.update()
        .where(
            attempt.c.id == attempt_id,
            attempt.c.state.in_(states),
            lapsed(ledger, attempt.c.lease_until),
        )
        .values(
            fence=attempt.c.fence + 1,
            owner=owner,
            lease_until=present + timedelta(seconds=lease_seconds),
            **values,
        )
        .returning(attempt)
    ).mappings()
    row = found.first()
    return dict(row) if row is not None else None
