"""Every attempt on a card that Stripe has seen, ours or not: what the caps count. Refuses nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from tinko_pipelines.ledger.schema import network_attempt
from tinko_pipelines.ledger.store import Ledger, insert_ignoring

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 2000
_COLUMNS = (
    "id account_id livemode card_fingerprint payment_method_id card_brand customer_id amount_minor currency created_at status"
    " outcome_network_status"
).split()


def mirror_charges(ledger: Ledger, charges: pa.Table) -> int:
    """Note the card charges of the lake; rows written."""
    # A drain needs the rest of this module and no table, and would load them for longer than it works.
    import pyarrow as pa
    import pyarrow.compute as pc

    table = charges.filter(pc.equal(charges["payment_method_type"], "card")) if charges.num_rows else charges
    with ledger.read() as connection:
        total = connection.execute(select(func.count()).select_from(network_attempt)).scalar_one()
        known = list(connection.execute(select(network_attempt.c.charge_id)).scalars()) if total else []
    if known:
        table = table.filter(pc.invert(pc.is_in(table["id"], pa.array(known, pa.string()))))
    fresh = [
        _row(
            row,
            row["id"],
            row["account_id"],
            fingerprint=row["card_fingerprint"] or row["payment_method_id"],
            amount_minor=row["amount_minor"],
            at=row["created_at"],
            network_status=row["outcome_network_status"],
            customer_id=row["customer_id"],
        )
        for row in table.select(_COLUMNS).to_pylist()
    ]
    for start in range(0, len(fresh), _AT_ONCE):
        with ledger.write() as connection:
            connection.execute(
                insert_ignoring(ledger.dialect, network_attempt), fresh[start : start + _AT_ONCE]
            )
    return len(fresh)


def note_seen(
    ledger: Ledger, connection: Connection, account_id: str, charges: Iterable[Mapping[str, Any]]
) -> None:
    """Note card charges just read from Stripe, as its API spells them, before the lake has them."""
    cards = {
        one["id"]: one for one in charges if (one.get("payment_method_details") or {}).get("type") == "card"
    }
    noted = select(network_attempt.c.charge_id).where(network_attempt.c.charge_id.in_(sorted(cards)))
    for known in connection.execute(noted).scalars() if cards else ():
        del cards[known]
    rows = []
    for charge in cards.values():
        card = charge["payment_method_details"].get("card") or {}
        rows.append(
            _row(
                {**charge, "card_brand": card.get("brand")},
                charge["id"],
                account_id,
                fingerprint=card.get("fingerprint") or charge.get("payment_method"),
                amount_minor=charge["amount"],
                at=datetime.fromtimestamp(charge["created"], UTC),
                network_status=(charge.get("outcome") or {}).get("network_status"),
                customer_id=charge.get("customer"),
            )
        )
    if rows:
        rows.sort(key=lambda row: str(row["charge_id"]))
        connection.execute(insert_ignoring(ledger.dialect, network_attempt), rows)


def _row(
    charge: Mapping[str, Any],
    charge_id: str,
    account_id: str,
    *,
    fingerprint: str | None,
    amount_minor: int,
    at: datetime,
    network_status: str | None,
    customer_id: str | None,
) -> dict[str, Any]:
    return {
        "charge_id": charge_id,
        "account_id": account_id,
        "livemode": bool(charge["livemode"]),
        "card_fingerprint": fingerprint,
        "card_brand": charge["card_brand"],
        "customer_id": customer_id,
        "amount_minor": amount_minor,
        "currency": charge["currency"],
        "at": at,
        "declined": charge["status"] == "failed" and network_status != "not_sent_to_network",
        "ours": False,
    }
