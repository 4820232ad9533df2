"""Stripe objects as its API spells them, with only what the lake reads."""

from typing import Any

DAY = 86_400
START = 1_788_000_000


def charge(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": name, "object": "charge", "created": at, "livemode": False, "amount": 1900, "currency": "usd",
        "amount_captured": 0, "amount_refunded": 0, "status": "failed", "paid": False, "captured": False,
        "refunded": False, "disputed": False, "customer": "cus_1", "payment_intent": "pi_1",
        "payment_method": "pm_1", "failure_code": "card_declined", "failure_message": "declined",
        "balance_transaction": None, "metadata": {},
        "outcome": {"type": "issuer_declined", "reason": "insufficient_funds", "network_status": "declined_by_network",
                    "network_decline_code": "51", "advice_code": "try_again_later"},
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "network": "visa", "country": "US",
                                   "fingerprint": "fp_1", "funding": "debit", "exp_month": 3, "exp_year": 2029}},
    }  # fmt: skip
    return {**item, **changes}


def paid(name: str, at: int, **changes: Any) -> dict[str, Any]:
    ok = {
        "status": "succeeded",
        "paid": True,
        "captured": True,
        "failure_code": None,
        "failure_message": None,
    }
    return charge(name, at, **{**ok, "outcome": {"type": "authorized"}, **changes})


def intent(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name, "object": "payment_intent", "created": at, "amount": 1900, "amount_received": 0, "currency": "usd",
        "status": "requires_payment_method", "customer": "cus_1", "payment_method": None, "latest_charge": None,
        "setup_future_usage": None, "canceled_at": None, "metadata": {},
    }  # fmt: skip
    return {**item, **changes}


def invoice(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name, "object": "invoice", "created": at, "status": "open", "collection_method": "charge_automatically",
        "customer": "cus_1", "currency": "usd", "amount_due": 1900, "amount_paid": 0, "amount_remaining": 1900,
        "total": 1900, "attempt_count": 1, "attempted": True, "next_payment_attempt": None,
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        "status_transitions": {"finalized_at": at, "paid_at": None},
    }  # fmt: skip
    return {**item, **changes}


def invoice_payment(name: str, at: int, invoice_id: str, intent_id: str) -> dict[str, Any]:
    return {
        "id": name, "object": "invoice_payment", "created": at, "invoice": invoice_id, "currency": "usd",
        "amount_requested": 1900, "amount_paid": None, "is_default": True, "status": "open",
        "payment": {"type": "payment_intent", "payment_intent": intent_id},
    }  # fmt: skip


def subscription(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name, "object": "subscription", "created": at, "customer": "cus_1", "status": "past_due",
        "collection_method": "charge_automatically", "currency": "usd", "default_payment_method": None,
        "items": {"object": "list", "data": [{"price": {"id": "price_1"}}]},
    }  # fmt: skip
    return {**item, **changes}


def customer(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name, "object": "customer", "created": at, "preferred_locales": ["de-DE"],
        "invoice_settings": {"default_payment_method": "pm_1"},
    }  # fmt: skip
    return {**item, **changes}


def method(name: str, at: int, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name, "object": "payment_method", "created": at, "type": "card", "customer": "cus_1",
        "card": {"brand": "visa", "country": "US", "fingerprint": "fp_1", "exp_month": 3, "exp_year": 2029},
    }  # fmt: skip
    return {**item, **changes}


def event(name: str, at: int, kind: str, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name, "object": "event", "created": at, "type": kind, "api_version": "2026-10-28.endive",
        "request": {"id": None}, "data": {"object": about},
    }  # fmt: skip
