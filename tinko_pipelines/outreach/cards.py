"""A mail before a card ends: whom the ledger is told to write to, and the last look at Stripe before it goes out."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import ids
from tinko_pipelines.ledger.schema import card_notice, message
from tinko_pipelines.ledger.store import Ledger, insert_ignoring
from tinko_pipelines.outreach.addressee import Addressee, is_address, read
from tinko_pipelines.outreach.sequences import Sequences

KIND = "card"
_AT_ONCE = 500
_MOST = 100
"""So many subscriptions and drafts of one customer are looked at."""
_GOES_ON = ("active", "trialing", "past_due")

Object = dict[str, Any]


def schedule(
    ledger: Ledger,
    cards: pa.Table,
    *,
    now: datetime,
    sequences: Sequences,
    days: int,
    lost_before: Callable[[str], datetime | None],
) -> int:
    """Let each card of `lake.expiring` have its one mail; how many are new. The same cards again add nothing.

    Of a card whose days had begun when a ledger was lost nobody knows whether it was written about, so it is not.
    """
    mail = sequences.before_expiry
    if mail is None:
        return 0
    rows = cards.to_pylist()
    lost = {name: lost_before(name) for name in {row["account_id"] for row in rows}}
    wanted = [row for row in rows if not _may_be_known(row, lost[row["account_id"]], days)]
    added = 0
    for start in range(0, len(wanted), _AT_ONCE):
        with ledger.write() as connection:
            for row in wanted[start : start + _AT_ONCE]:
                notice = _notice(row, now)
                new = insert_ignoring(ledger.dialect, card_notice).returning(card_notice.c.id)
                if connection.execute(new, notice).first() is not None:
                    connection.execute(message.insert(), _message(row, notice, mail.template, now))
                    added += 1
    return added


def _may_be_known(row: Object, lost_before: datetime | None, days: int) -> bool:
    return lost_before is not None and row["expires_at"] - timedelta(days=days) <= lost_before


def _notice(row: Object, now: datetime) -> Object:
    # The last moment before it ends is in the month that the card shows.
    month = f"{row['expires_at'] - timedelta(seconds=1):%Y-%m}"
    return {
        "id": ids.card_notice_id(row["account_id"], row["payment_method_id"], month),
        **{name: row[name] for name in ("account_id", "livemode", "customer_id", "payment_method_id")},
        "expires_at": row["expires_at"],
        "created_at": now,
    }


def _message(row: Object, notice: Object, template: str, now: datetime) -> Object:
    return {
        "id": ids.message_id(notice["id"], 1),
        "card_notice_id": notice["id"],
        "account_id": row["account_id"],
        "livemode": row["livemode"],
        "step": 1,
        "kind": KIND,
        "template": template,
        "locale": row["preferred_locale"],
        "state": "scheduled",
        "due_at": now,
    }


def notice_of(row: Mapping[str, Any]) -> Object:
    """The notice's columns of a row from `outbox.due`."""
    named = {key.removeprefix("notice_"): value for key, value in row.items() if key.startswith("notice_")}
    return {**named, "id": row["card_notice_id"]}


def look(gateway: Gateway, notice: Mapping[str, Any], now: datetime) -> tuple[Addressee, Object] | str:
    """Ask Stripe once more: whom to write to, and the card (`brand`, `last4`, `exp_month`, `exp_year`); a word when for nothing."""
    if notice["customer_id"] is None or notice["payment_method_id"] is None:
        return "the customer is erased"
    if now >= notice["expires_at"]:
        return "the card has ended"
    customer = read(gateway, f"/v1/customers/{notice['customer_id']}")
    if customer is None or customer.get("deleted"):
        return "the customer is deleted"
    email = customer.get("email") or ""
    if not is_address(email):
        return "no usable address"
    method = read(gateway, f"/v1/payment_methods/{notice['payment_method_id']}")
    if method is None or method.get("customer") != notice["customer_id"]:
        return "the card was removed"
    card: Object = method.get("card") or {}
    if ends_at(card) != notice["expires_at"]:
        return "the card was renewed"
    default = (customer.get("invoice_settings") or {}).get("default_payment_method")
    if not any(_name(one) == notice["payment_method_id"] for one in _charged(gateway, notice, default)):
        return "nothing is charged to the card any more"
    locale = next(iter(customer.get("preferred_locales") or ()), None)
    name = customer.get("name") or ""
    return Addressee(email, name, None, locale, None, False, customer), card


def ends_at(card: Mapping[str, Any]) -> datetime | None:
    """When a card ends: with its month, by UTC; None where it does not say."""
    month, year = card.get("exp_month"), card.get("exp_year")
    if not (isinstance(month, int) and isinstance(year, int) and 1 <= month <= 12 and 2000 <= year <= 2200):
        return None
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _charged(gateway: Gateway, notice: Mapping[str, Any], default: Any) -> Iterator[Any]:
    """The methods that what is to come for the customer will be charged to; drafts are asked for only if need be."""
    of_his = {"customer": notice["customer_id"], "limit": _MOST}
    for one in (read(gateway, "/v1/subscriptions", of_his) or {}).get("data") or ():
        goes_on = one.get("status") in _GOES_ON and not one.get("cancel_at_period_end")
        if goes_on and one.get("collection_method") != "send_invoice":
            yield one.get("default_payment_method") or default
    for one in (read(gateway, "/v1/invoices", {**of_his, "status": "draft"}) or {}).get("data") or ():
        if one.get("collection_method") == "charge_automatically":
            yield one.get("default_payment_method") or default


def _name(method: Any) -> Any:
    return method.get("id") if isinstance(method, dict) else method
