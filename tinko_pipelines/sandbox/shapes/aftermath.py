"""What follows a charge: balance transactions, refunds, disputes; and the event that tells of anything."""

from typing import Any

import orjson

Object = dict[str, Any]
DAY = 86_400


def balance_transaction(
    transaction_id: str,
    created: int,
    source: str,
    kind: str,
    amount_minor: int,
    fee_minor: int,
    currency: str,
) -> Object:
    """Money that moved on the merchant's balance; pending for two days."""
    categories = {"refund": "refund", "adjustment": "dispute"}
    fee = {
        "amount": fee_minor,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees",
        "type": "stripe_fee",
    }
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount_minor,
        "available_on": created + 2 * DAY,
        "balance_type": "payments",
        "created": created,
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": fee_minor,
        "fee_details": [fee] if fee_minor else [],
        "net": amount_minor - fee_minor,
        "reporting_category": categories.get(kind, "charge"),
        "source": source,
        "status": "pending",
        "type": kind,
    }


def refund(
    refund_id: str, created: int, charge: Object, amount_minor: int, reason: str | None, transaction: str
) -> Object:
    """Money given back; at once, as card refunds are."""
    return {
        "id": refund_id,
        "object": "refund",
        "amount": amount_minor,
        "balance_transaction": transaction,
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": {"card": {"type": "pending"}, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def dispute(dispute_id: str, created: int, charge: Object, transaction: Object) -> Object:
    """A cardholder's objection to a whole charge, waiting for evidence."""
    card = (charge["payment_method_details"] or {}).get("card") or {}
    brand = card.get("brand") or "visa"
    return {
        "id": dispute_id,
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [transaction],
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": created + 9 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": brand,
                "case_type": "chargeback",
                "network": card.get("network") or brand,
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": "fraudulent",
        "status": "needs_response",
    }


def event(
    event_id: str,
    created: int,
    kind: str,
    api_version: str,
    item: Object,
    previous: Object | None,
    request_id: str | None,
    idempotency_key: str | None,
    pending_webhooks: int,
) -> Object:
    """Something that happened, with the object as it was just then. `request_id` None: Stripe did it itself."""
    data: Object = {"object": item}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": event_id,
        "object": "event",
        "api_version": api_version,
        "created": created,
        "data": orjson.Fragment(orjson.dumps(data)),
        "livemode": False,
        "pending_webhooks": pending_webhooks,
        "request": {"id": request_id, "idempotency_key": idempotency_key},
        "type": kind,
    }
