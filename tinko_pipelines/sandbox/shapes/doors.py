"""The doors into and out of Stripe: checkout, portal, webhook endpoints, test clocks, the account itself."""

from typing import Any

Object = dict[str, Any]
ACCOUNT = "acct_1TinkoSandbox0000"
HOUR = 3_600


def checkout_session(session_id: str, created: int, mode: str, **fields: Any) -> Object:
    """A hosted payment page, open for a day."""
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": None,
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": created,
        "currency": None,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": None,
        "customer_creation": None,
        "customer_details": None,
        "customer_email": None,
        "discounts": [],
        "expires_at": created + 24 * HOUR,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": None,
        "metadata": {},
        "mode": mode,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid" if mode == "payment" else "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": None,
        "total_details": None,
        "ui_mode": "hosted_page",
        "url": f"https://checkout.stripe.com/c/pay/{session_id}",
        "wallet_options": None,
        **fields,
    }


def portal_session(session_id: str, created: int, customer: str, return_url: str | None) -> Object:
    """A customer's way to his own account page."""
    return {
        "id": session_id,
        "object": "billing_portal.session",
        "configuration": "bpc_1TinkoSandbox0000",
        "created": created,
        "customer": customer,
        "flow": None,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": return_url,
        "url": f"https://billing.stripe.com/p/session/{session_id}",
    }


def webhook_endpoint(endpoint_id: str, created: int, url: str, events: list[str], **fields: Any) -> Object:
    """An address that events are posted to; its secret is kept apart and shown once."""
    return {
        "id": endpoint_id,
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
        **fields,
    }


def test_clock(clock_id: str, created: int, frozen_time: int, name: str | None) -> Object:
    """A test clock; the sandbox has one time for all, which every test clock shows."""
    return {
        "id": clock_id,
        "object": "test_helpers.test_clock",
        "created": created,
        "deletes_after": created + 30 * 24 * HOUR,
        "frozen_time": frozen_time,
        "livemode": False,
        "name": name,
        "status": "ready",
        "status_details": {},
    }


def account() -> Object:
    """The merchant, as little as a key check needs."""
    return {
        "id": ACCOUNT,
        "object": "account",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "merchant@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }
