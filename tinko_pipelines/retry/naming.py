"""Which charge each of our successes made, where the answer to the call did not say: an invoice names none.

Read from the lake once it has the charge, so that it costs no request. Settles nothing.
"""

from collections import defaultdict
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select, text

from tinko_pipelines.ledger.schema import attempt, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger

_BEFORE, _AFTER = timedelta(seconds=5), timedelta(seconds=60)
_AT_ONCE = 1000
_UNNAMED = text("attempt.state = 'succeeded' AND attempt.charge_id IS NULL")


def name_charges(ledger: Ledger, charges: pa.Table, invoice_payments: pa.Table) -> int:
    """Fill in the charges of successes that have none; attempts named.

    A charge is an attempt's if it succeeded on an intent of its invoice while it was called, and is the only one.
    """
    with ledger.read() as connection:
        query = select(attempt, recovery_case.c.payment_intent_id).join(
            recovery_case, recovery_case.c.id == attempt.c.case_id
        )
        unnamed = (
            connection.execute(query.where(_UNNAMED).order_by(attempt.c.settled_at.desc()).limit(_AT_ONCE))
            .mappings()
            .all()
        )
    if not unnamed or not charges.num_rows:
        return 0
    intents = _intents(unnamed, invoice_payments)
    wanted = pa.array(sorted({intent for each in intents.values() for intent in each}), pa.string())
    good = charges.filter(
        pc.and_(
            pc.is_in(charges["payment_intent_id"], wanted),
            pc.and_(pc.equal(charges["status"], "succeeded"), pc.fill_null(charges["captured"], True)),
        )
    ).select(["id", "account_id", "payment_intent_id", "created_at"])
    found = good.to_pylist()
    return sum(_name(ledger, row, intents[row["object_id"]], found) for row in unnamed)


def _intents(unnamed: Any, invoice_payments: pa.Table) -> dict[str, set[str]]:
    """The intents that collect what each attempt was called on."""
    intents: defaultdict[str, set[str]] = defaultdict(set)
    for row in unnamed:
        intents[row["object_id"]] |= {row["object_id"], row["payment_intent_id"]} - {None}
    if invoice_payments.num_rows:
        ours = pc.is_in(invoice_payments["invoice_id"], pa.array(sorted(intents), pa.string()))
        for row in invoice_payments.filter(ours).select(["invoice_id", "payment_intent_id"]).to_pylist():
            intents[row["invoice_id"]] |= {row["payment_intent_id"]} - {None}
    return intents


def _name(ledger: Ledger, row: Any, intents: set[str], found: list[dict[str, Any]]) -> int:
    since, until = row["called_at"] - _BEFORE, row["settled_at"] + _AFTER
    fitting = [
        charge["id"]
        for charge in found
        if charge["account_id"] == row["account_id"]
        and charge["payment_intent_id"] in intents
        and since <= charge["created_at"] <= until
    ]
    if len(fitting) != 1:
        return 0
    with ledger.write() as connection:
        named = attempt.update().where(attempt.c.id == row["id"], _UNNAMED).values(charge_id=fitting[0])
        done = connection.execute(named).rowcount
        # The limits' own note of it, made under the attempt's name, gives way to the charge.
        seen = connection.execute(
            network_attempt.update().where(network_attempt.c.charge_id == fitting[0]).values(ours=True)
        ).rowcount
        if seen:
            connection.execute(
                network_attempt.delete().where(network_attempt.c.charge_id == f"attempt:{row['id']}")
            )
    return done
