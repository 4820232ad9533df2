"""Rows put into a ledger past all code, so that what refuses them is the database alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import IntegrityError

from tests.fake_stripe import NOW
from tinko_pipelines.ledger.network_caps import CapRule
from tinko_pipelines.ledger.schema import attempt, cap_rule, message, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger

ACCOUNT = "default"
PATHS = {
    "prepared": (),
    "abandoned": ("abandoned",),
    "calling": ("calling",),
    **{
        state: ("calling", state)
        for state in ("succeeded", "declined", "requires_action", "processing", "unknown")
    },
}
"""How an attempt comes to each state."""


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def add(connection: Connection, table: Table, **values: Any) -> None:
    connection.execute(table.insert().values(**values))


def add_rule(connection: Connection, keyed_by: str, most: int, window_hours: int, **changes: Any) -> None:
    row = {
        "rule": f"r_{keyed_by}_{window_hours}",
        "network": "any",
        "valid_from": NOW - hours(9999),
        **changes,
    }
    add(connection, cap_rule, keyed_by=keyed_by, max_attempts=most, window_hours=window_hours, **row)


def rule(keyed_by: str, most: int, window_hours: int, **changes: Any) -> CapRule:
    return CapRule("r", "any", keyed_by, most, window_hours, NOW - hours(9999), **changes)


def add_case(connection: Connection, name: str, **changes: Any) -> None:
    row = {
        "id": name, "account_id": ACCOUNT, "livemode": False, "debt_kind": "payment_intent", "debt_id": name,
        "live_object_id": name, "amount_minor": 1000, "currency": "usd", "state": "open", "plan": "{}",
        "first_failed_at": NOW, "plan_ends_at": NOW + hours(999), "max_attempts": 5, "created_at": NOW,
        "updated_at": NOW,
    }  # fmt: skip
    add(connection, recovery_case, **{**row, **changes})


def attempt_values(name: str, at: datetime, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"{name}:1", "case_id": name, "n": 1, "idempotency_key": f"key:{name}", "account_id": ACCOUNT,
        "livemode": False, "amount_minor": 1000, "currency": "usd", "operation": "payment_intent.confirm",
        "object_id": name, "params": "{}", "params_sha256": "x", "api_version": "v", "state": "prepared",
        "card_fingerprint": "card", "card_brand": "visa", "customer_id": "cus", "fence": 1, "prepared_at": at,
    }  # fmt: skip
    return {**row, **changes}


def add_attempt(
    connection: Connection, name: str, at: datetime, state: str = "prepared", **changes: Any
) -> None:
    """A case of its own and its attempt, brought to `state` by legal moves, called at `at`."""
    values = attempt_values(name, at, **changes)
    add_case(connection, name, amount_minor=values["amount_minor"], currency=values["currency"],
             account_id=values["account_id"])  # fmt: skip
    add(connection, attempt, **values)
    for step in PATHS[state]:
        move(connection, attempt, values["id"], step, at)


def move(connection: Connection, table: Table, identity: str, state: str, at: datetime) -> None:
    values: dict[str, Any] = {"state": state}
    if state == "calling":
        values["called_at"] = at
    if state == "sending":
        values["claimed_at"] = at
    connection.execute(table.update().where(table.c.id == identity).values(**values))


def add_seen(connection: Connection, name: str, at: datetime, **changes: Any) -> None:
    row = {
        "charge_id": name, "account_id": ACCOUNT, "livemode": False, "card_fingerprint": "card",
        "card_brand": "visa", "customer_id": "cus", "amount_minor": 1000, "currency": "usd", "declined": True,
        "ours": False,
    }  # fmt: skip
    add(connection, network_attempt, at=at, **{**row, **changes})


def add_message(connection: Connection, case: str, step: int, **changes: Any) -> str:
    identity = f"{case}/{step}"
    row = {
        "id": identity, "case_id": case, "account_id": ACCOUNT, "livemode": False, "step": step,
        "kind": "dunning", "template": "update_card", "state": "scheduled", "due_at": NOW,
        "address_hmac": "address",
    }  # fmt: skip
    add(connection, message, **{**row, **changes})
    return identity


@contextmanager
def undone(ledger: Ledger) -> Iterator[Connection]:
    """A writing transaction that leaves nothing behind."""
    with ledger.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        if transaction.is_active:
            transaction.rollback()


def refusal(act: Any) -> str | None:
    """What the database says when `act` is refused; None when it is not."""
    try:
        act()
    except IntegrityError as error:
        return str(error.orig).splitlines()[0]
    return None
