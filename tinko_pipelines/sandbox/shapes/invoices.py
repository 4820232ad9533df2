"""The invoice and its lines: the largest objects of all."""

from typing import Any

from tinko_pipelines.sandbox.shapes.billing import item_list

Object = dict[str, Any]


def invoice(
    invoice_id: str,
    created: int,
    customer: Object,
    subscription: Object,
    number: str,
    billing_reason: str,
) -> Object:
    """One period of a subscription, finalized and open."""
    item = subscription["items"]["data"][0]
    amount = item["price"]["unit_amount"] * item["quantity"]
    start, end = item["current_period_start"], item["current_period_end"]
    hosted = f"https://invoice.stripe.com/i/{invoice_id}"
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Tinko Sandbox",
        "account_tax_ids": None,
        **_amounts(amount),
        **_addressee(customer),
        **_empty(),
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": billing_reason,
        "collection_method": subscription["collection_method"],
        "created": created,
        "currency": subscription["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "effective_at": created,
        "ending_balance": 0,
        "hosted_invoice_url": hosted,
        "invoice_pdf": f"{hosted}/pdf",
        "issuer": {"type": "self"},
        "lines": item_list(
            [_line(invoice_id, subscription["id"], item, amount)], f"/v1/invoices/{invoice_id}/lines"
        ),
        "livemode": False,
        "metadata": {},
        "number": number,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": end,
        "period_start": start,
        "status": "open",
        "status_transitions": {
            "finalized_at": created,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "webhooks_delivered_at": created,
    }


NOTHING_YET = tuple(
    """application automatically_finalizes_at custom_fields default_payment_method default_source description
    due_date footer from_invoice last_finalization_error latest_revision next_payment_attempt on_behalf_of
    receipt_number rendering shipping_cost shipping_details statement_descriptor test_clock""".split()
)


def _empty() -> Object:
    return dict.fromkeys(NOTHING_YET)


def _addressee(customer: Object) -> Object:
    return {
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
    }


def _amounts(amount: int) -> Object:
    return {
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": amount,
        "amount_shipping": 0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_discount_amounts": [],
        "total_excluding_tax": amount,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _line(invoice_id: str, subscription_id: str, item: Object, amount: int) -> Object:
    price = item["price"]
    return {
        "id": f"il_{invoice_id[3:]}",
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{item['quantity']} × {price['nickname'] or 'subscription'}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription_id,
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
        "subtotal": amount,
        "taxes": [],
    }
