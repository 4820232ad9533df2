"""Which ids are a person's: from his customer id, by the lake's tables and the ledger's cases, to all that is his."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tinko_pipelines.lake.schemas import ERASED, OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger.schema import attempt, card_notice, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger

if TYPE_CHECKING:
    import duckdb

ROUNDS_MOST = 6
"""An event of a refund of a charge of an intent is four steps away."""
_OWN = ("payment_method_id", "default_payment_method_id", "card_fingerprint")
"""What a row of his names that is his as well."""
_IN_LEDGER = (
    (recovery_case, ("debt_id", "live_object_id", "invoice_id", "payment_intent_id", "first_charge_id",
                     "subscription_id", "payment_method_id", "card_fingerprint")),
    (attempt, ("object_id", "charge_id", "card_fingerprint")),
    (card_notice, ("id", "payment_method_id")),
    (network_attempt, ("charge_id", "card_fingerprint")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """A customer, and the ids of all that is his; `ids` is empty where nothing is kept of him."""

    customer_id: str
    account_id: str
    ids: frozenset[str]


def find_person(lake: Lake, ledger: Ledger, account_id: str, customer_id: str) -> Person:
    """Everything of a customer, as far as the tables know him."""
    seeds = _in_ledger(ledger, account_id, customer_id)
    with lake.connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE his AS SELECT unnest(?::VARCHAR[]) AS id", [[customer_id, *seeds]]
        )
        for statement in _grow():
            connection.execute(statement, [account_id])
        known = _count(connection)
        for _ in range(ROUNDS_MOST):
            for statement in _grow():
                connection.execute(statement, [account_id])
            if (now := _count(connection)) == known:
                break
            known = now
        rows = connection.execute("SELECT DISTINCT id FROM his").fetchall()
        seen = connection.execute(
            "SELECT count(*) FROM (SELECT id FROM customers WHERE account_id = $1 AND id = $2 UNION ALL"
            " SELECT id FROM quarantine WHERE account_id = $1 AND contains(body, $2))",
            [account_id, customer_id],
        ).fetchall()
    ids = {str(row[0]) for row in rows} - {ERASED}
    return Person(customer_id, account_id, frozenset(ids if len(ids) > 1 or seen[0][0] else ()))


def _count(connection: duckdb.DuckDBPyConnection) -> Any:
    return connection.execute("SELECT count(DISTINCT id) FROM his").fetchall()


def _grow() -> list[str]:
    """Statements that add what is one step further: rows that name something of his, and what those name of his."""
    found = []
    for name, spec in OBJECTS.items():
        columns = [column.name for column in spec.columns]
        named = [
            one for one in columns if one.endswith("_id") and one != "customer_id" and name != "customers"
        ]
        by_name = " OR ".join(f"{one} IN (SELECT id FROM his)" for one in named) or "false"
        payer = "customer_id" if "customer_id" in columns else "NULL"
        is_his = (
            f"account_id = ? AND (id IN (SELECT id FROM his) OR {payer} IN (SELECT id FROM his)"
            f" OR ({payer} IS NULL AND ({by_name})))"
        )
        own = ", ".join(("id", *(one for one in _OWN if one in columns)))
        found.append(
            f"INSERT INTO his SELECT id FROM (SELECT DISTINCT unnest([{own}]) AS id FROM {name} WHERE {is_his})"
            " WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM his)"
        )
    return found


def _in_ledger(ledger: Ledger, account_id: str, customer_id: str) -> set[str]:
    found: set[str] = set()
    with ledger.read() as connection:
        for table, names in _IN_LEDGER:
            query = select(*(table.c[name] for name in names)).where(
                table.c.account_id == account_id, table.c.customer_id == customer_id
            )
            found |= {one for row in connection.execute(query) for one in row if one is not None}
    return found
