"""Payment intents, charges, and the errors they leave behind."""

from typing import Any

from tinko_pipelines.sandbox.ports import Decision

Object = dict[str, Any]
DECLINES_DOC = "https://docs.stripe.com/error-codes/card-declined"
SELLER_MESSAGES = {
    "issuer_declined": "The bank returned the decline code `{}`.",
    "blocked": "Stripe blocked this payment.",
}


def payment_intent(
    intent_id: str,
    created: int,
    amount_minor: int,
    currency: str,
    customer: str | None,
    **fields: Any,
) -> Object:
    """An intent that nobody has confirmed yet; `fields` replace the defaults."""
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount_minor,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{intent_id}_secret_{intent_id[-20:]}",
        "confirmation_method": "automatic",
        "created": created,
        "currency": currency,
        "customer": customer,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        **fields,
    }


def outcome(decision: Decision) -> Object:
    """What `charge.outcome` says of a decision; reason as Stripe gives it, None when authorized."""
    declined = decision.outcome == "declined"
    message = SELLER_MESSAGES.get(decision.outcome_type, "Payment complete.")
    return {
        "advice_code": decision.advice_code,
        "network_advice_code": decision.network_advice_code,
        "network_decline_code": decision.network_decline_code,
        "network_status": decision.network_status,
        "reason": decision.decline_code if declined else None,
        "risk_level": decision.risk_level,
        "seller_message": message.format(decision.decline_code),
        "type": decision.outcome_type,
    }


def charge(charge_id: str, created: int, intent: Object, method: Object, decision: Decision) -> Object:
    """One try at collecting an intent with a method, and how it went."""
    amount: int = intent["amount"]
    passed = decision.outcome == "approved"
    status = {"approved": "succeeded", "processing": "pending"}.get(decision.outcome, "failed")
    return {
        "id": charge_id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if passed else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "TINKO SANDBOX",
        "captured": passed,
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decision.failure_code,
        "failure_message": decision.message,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": outcome(decision),
        "paid": passed,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": method_details(method, amount if passed else None),
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/{charge_id}" if passed else None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": status,
        "transfer_data": None,
        "transfer_group": None,
    }


def method_details(method: Object, authorized_minor: int | None) -> Object:
    """`charge.payment_method_details`: the method as it was when charged."""
    if method["type"] != "card":
        return {"type": method["type"]}
    card = method["card"]
    same = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        "card": {
            **{name: card[name] for name in same},
            "amount_authorized": authorized_minor,
            "authorization_code": None,
            "installments": None,
            "mandate": None,
            "network": card["networks"]["available"][0],
            "network_token": {"used": False},
            "network_transaction_id": None,
            "three_d_secure": None,
            "wallet": None,
        },
        "type": "card",
    }


def card_error(decision: Decision, charge_id: str | None, method: Object) -> Object:
    """What `payment_intent.last_payment_error` says, and the body of the 402 besides the intent."""
    said = {
        "advice_code": decision.advice_code,
        "charge": charge_id,
        "code": decision.failure_code,
        "decline_code": decision.decline_code,
        "doc_url": DECLINES_DOC if decision.failure_code == "card_declined" else None,
        "message": decision.message,
        "network_advice_code": decision.network_advice_code,
        "network_decline_code": decision.network_decline_code,
        "payment_method": method,
        "payment_method_type": method["type"],
        "type": "card_error",
    }
    return {name: value for name, value in said.items() if value is not None}
