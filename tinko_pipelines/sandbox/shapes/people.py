"""Customers and their payment methods."""

from typing import Any

from tinko_pipelines.sandbox.ports import CardTruth

Object = dict[str, Any]


def customer(customer_id: str, created: int, email: str | None, **fields: Any) -> Object:
    """A customer without payment methods; `fields` replace the defaults."""
    return {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": email,
        "invoice_prefix": customer_id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **fields,
    }


def address(country: str | None) -> Object:
    """An address of which only the country is known."""
    names = ("city", "line1", "line2", "postal_code", "state")
    return {**dict.fromkeys(names), "country": country}


def billing_details(email: str | None, name: str | None, country: str | None) -> Object:
    """Who pays, as far as the method knows."""
    return {"address": address(country), "email": email, "name": name, "phone": None, "tax_id": None}


def payment_method(
    method_id: str, created: int, truth: CardTruth, customer_id: str | None, billing: Object
) -> Object:
    """A method as Stripe shows it; what the world knows beyond that stays hidden."""
    common = {
        "id": method_id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing,
        "created": created,
        "customer": customer_id,
        "livemode": False,
        "metadata": {},
        "type": truth.type,
    }
    if truth.type != "card":
        return {**common, truth.type: {"fingerprint": truth.fingerprint, "last4": truth.last4}}
    return {**common, "card": _card(truth)}


def _card(truth: CardTruth) -> Object:
    return {
        "brand": truth.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": truth.country,
        "display_brand": truth.brand,
        "exp_month": truth.exp_month,
        "exp_year": truth.exp_year,
        "fingerprint": truth.fingerprint,
        "funding": truth.funding,
        "generated_from": None,
        "last4": truth.last4,
        "networks": {"available": [truth.network], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
