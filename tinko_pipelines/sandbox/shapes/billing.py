"""Products, prices, subscriptions, invoices and their payments."""

from typing import Any

Object = dict[str, Any]
PERIOD_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
"""A period's length in days, near enough for a sandbox whose world bills by days."""


def product(product_id: str, created: int, name: str) -> Object:
    """Something that is sold."""
    return {
        "id": product_id,
        "object": "product",
        "active": True,
        "created": created,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": created,
        "url": None,
    }


def price(
    price_id: str,
    created: int,
    product_id: str,
    unit_amount_minor: int,
    currency: str,
    interval: str | None,
    interval_count: int = 1,
    **fields: Any,
) -> Object:
    """A price; recurring when it has an interval."""
    recurring = {
        "interval": interval,
        "interval_count": interval_count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
    return {
        "id": price_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": product_id,
        "recurring": recurring if interval else None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if interval else "one_time",
        "unit_amount": unit_amount_minor,
        "unit_amount_decimal": str(unit_amount_minor),
        **fields,
    }


def plan(of: Object) -> Object:
    """The plan that still stands beside a price in every subscription item."""
    recurring = of["recurring"]
    same = ("active", "billing_scheme", "created", "currency", "id", "livemode", "metadata", "nickname")
    return {
        **{name: of[name] for name in (*same, "product", "tiers_mode")},
        "object": "plan",
        "amount": of["unit_amount"],
        "amount_decimal": of["unit_amount_decimal"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "meter": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def subscription_item(item_id: str, created: int, subscription: str, of: Object, quantity: int) -> Object:
    """One priced line of a subscription; the billing period lives here."""
    return {
        "id": item_id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": created,
        "current_period_end": created,
        "current_period_start": created,
        "discounts": [],
        "metadata": {},
        "plan": plan(of),
        "price": of,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def subscription(
    subscription_id: str, created: int, customer: str, item: Object, method: str | None, **fields: Any
) -> Object:
    """A subscription charged automatically."""
    return {
        "id": subscription_id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": created,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": created,
        "currency": item["price"]["currency"],
        "customer": customer,
        "days_until_due": None,
        "default_payment_method": method,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": item_list([item], f"/v1/subscription_items?subscription={subscription_id}"),
        "latest_invoice": None,
        "livemode": False,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": created,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
        **fields,
    }


def item_list(items: list[Object], url: str) -> Object:
    """A list inside an object; all of it, since there is never more than a page."""
    return {"object": "list", "data": items, "has_more": False, "url": url}


def invoice_payment(
    payment_id: str, created: int, invoice: str, intent: str, amount_minor: int, currency: str
) -> Object:
    """The link between an invoice and the intent that collects it."""
    return {
        "id": payment_id,
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": amount_minor,
        "created": created,
        "currency": currency,
        "invoice": invoice,
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
