"""Which columns each Stripe object has in the lake, and where in Stripe's JSON they come from. Data only.

What an object has at its top level in the pinned API version is in `data/stripe_fields.csv`; what is beyond that is
kept as JSON in the column `extra`, so that nothing new is lost while nobody has looked at it.

Names and e-mail addresses are left out on purpose: mails read them from Stripe at the moment of sending. Which of the
columns tell something of a person is said beside them: of one who was erased they are empty.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pyarrow as pa

TEXT, WHOLE, FLAG, MOMENT = pa.string(), pa.int64(), pa.bool_(), pa.timestamp("us", tz="UTC")
JSON = "json"
"""A column that keeps an object as JSON text."""

COMMON = pa.schema(
    [
        ("id", TEXT),
        ("account_id", TEXT),
        ("livemode", FLAG),
        ("created_at", MOMENT),
        ("fetched_at", MOMENT),
        ("version_at", MOMENT),
        ("api_version", TEXT),
        ("deleted", FLAG),
        ("extra", TEXT),
    ],
)
"""`fetched_at`: when it was asked for. `version_at`: as of when it is so: then, or when the event that told it happened.
`deleted`: Stripe has it no more, and the other columns are what was last known. `extra`: fields nobody knows here."""

ERASED = "erased"
"""Stands in `customer_id` for whoever was erased, so that nobody takes his payments for those of a guest."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, the paths at which its value may be found, first one present wins, and whether it is personal."""

    name: str
    type: pa.DataType | str
    paths: tuple[str, ...]
    personal: bool = False

    @property
    def arrow_type(self) -> pa.DataType:
        """The type in Parquet; JSON is stored as text."""
        return TEXT if isinstance(self.type, str) else self.type


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """One kind of object: Stripe's own name for it, its columns, and which of them may not be missing."""

    name: str
    stripe_object: str
    columns: tuple[Column, ...]
    required: frozenset[str]

    @property
    def schema(self) -> pa.Schema:
        """The whole schema, the common columns first."""
        return pa.schema([*COMMON, *((column.name, column.arrow_type) for column in self.columns)])


def _columns(personal: frozenset[str], **groups: str) -> tuple[Column, ...]:
    """Columns from lines such as `amount_minor=amount customer_id=customer`, grouped by type."""
    types: Mapping[str, pa.DataType | str] = {
        "text": TEXT,
        "whole": WHOLE,
        "flag": FLAG,
        "moment": MOMENT,
        "json": JSON,
    }
    found = []
    for group, text in groups.items():
        for entry in text.split():
            name, _, paths = entry.partition("=")
            found.append(Column(name, types[group], tuple((paths or name).split("|")), name in personal))
    return tuple(found)


def _spec(
    name: str, stripe_object: str, required: str = "", *, personal: str = "", **groups: str
) -> ObjectSpec:
    columns = _columns(frozenset(personal.split()), **groups)
    return ObjectSpec(name, stripe_object, columns, frozenset(required.split()))


_CARD = "payment_method_details.card"
_SPECS = (
    _spec(
        "charges",
        "charge",
        "amount_minor currency status",
        personal="customer_id payment_method_id card_fingerprint card_exp_month card_exp_year metadata",
        text="currency status customer_id=customer payment_intent_id=payment_intent"
        " payment_method_id=payment_method payment_method_type=payment_method_details.type"
        f" card_brand={_CARD}.brand card_network={_CARD}.network card_country={_CARD}.country"
        f" card_funding={_CARD}.funding card_issuer={_CARD}.issuer card_fingerprint={_CARD}.fingerprint failure_code failure_message"
        " outcome_type=outcome.type outcome_reason=outcome.reason outcome_network_status=outcome.network_status"
        " outcome_risk_level=outcome.risk_level network_decline_code=outcome.network_decline_code"
        " network_advice_code=outcome.network_advice_code advice_code=outcome.advice_code"
        " balance_transaction_id=balance_transaction",
        whole="amount_minor=amount amount_captured_minor=amount_captured amount_refunded_minor=amount_refunded"
        f" card_exp_month={_CARD}.exp_month card_exp_year={_CARD}.exp_year",
        flag="paid captured refunded disputed",
        json="metadata",
    ),
    _spec(
        "payment_intents",
        "payment_intent",
        "amount_minor currency status",
        personal="customer_id payment_method_id metadata",
        text="currency status customer_id=customer payment_method_id=payment_method"
        " latest_charge_id=latest_charge setup_future_usage cancellation_reason",
        whole="amount_minor=amount amount_received_minor=amount_received",
        moment="canceled_at",
        json="metadata",
    ),
    _spec(
        "invoices",
        "invoice",
        "currency amount_due_minor",
        personal="customer_id default_payment_method_id metadata",
        text="status collection_method customer_id=customer"
        " subscription_id=parent.subscription_details.subscription|subscription currency billing_reason"
        " default_payment_method_id=default_payment_method",
        whole="amount_due_minor=amount_due amount_paid_minor=amount_paid amount_remaining_minor=amount_remaining"
        " total_minor=total attempt_count",
        flag="attempted",
        moment="next_payment_attempt_at=next_payment_attempt finalized_at=status_transitions.finalized_at"
        " paid_at=status_transitions.paid_at voided_at=status_transitions.voided_at"
        " marked_uncollectible_at=status_transitions.marked_uncollectible_at",
        json="metadata",
    ),
    _spec(
        "invoice_payments",
        "invoice_payment",
        "invoice_id",
        text="invoice_id=invoice payment_type=payment.type payment_intent_id=payment.payment_intent"
        " charge_id=payment.charge currency status",
        whole="amount_paid_minor=amount_paid amount_requested_minor=amount_requested",
        flag="is_default",
        moment="paid_at=status_transitions.paid_at",
    ),
    _spec(
        "customers",
        "customer",
        text="default_payment_method_id=invoice_settings.default_payment_method|default_source"
        " country=address.country preferred_locale=preferred_locales.0",
        flag="delinquent",
    ),
    _spec(
        "payment_methods",
        "payment_method",
        "type",
        text="customer_id=customer type card_brand=card.brand card_country=card.country"
        " card_fingerprint=card.fingerprint card_funding=card.funding",
        whole="card_exp_month=card.exp_month card_exp_year=card.exp_year",
    ),
    _spec(
        "subscriptions",
        "subscription",
        "status",
        personal="customer_id default_payment_method_id",
        text="customer_id=customer status default_payment_method_id=default_payment_method"
        " cancellation_reason=cancellation_details.reason collection_method currency"
        " price_id=items.data.0.price latest_invoice_id=latest_invoice",
        flag="cancel_at_period_end",
        moment="canceled_at ended_at",
    ),
    _spec(
        "prices",
        "price",
        "currency",
        text="currency type interval=recurring.interval nickname product_id=product",
        whole="unit_amount_minor=unit_amount interval_count=recurring.interval_count",
        flag="active",
    ),
    _spec(
        "refunds",
        "refund",
        "amount_minor currency",
        text="charge_id=charge payment_intent_id=payment_intent currency status reason",
        whole="amount_minor=amount",
    ),
    _spec(
        "disputes",
        "dispute",
        "amount_minor currency",
        text="charge_id=charge payment_intent_id=payment_intent currency status reason",
        whole="amount_minor=amount",
    ),
    _spec(
        "balance_transactions",
        "balance_transaction",
        "amount_minor currency",
        text="source_id=source type reporting_category currency status",
        whole="amount_minor=amount fee_minor=fee net_minor=net",
        moment="available_on_at=available_on",
        json="exchange_rate",
    ),
    _spec(
        "checkout_sessions",
        "checkout.session",
        personal="customer_id metadata",
        text="status payment_status mode customer_id=customer payment_intent_id=payment_intent"
        " invoice_id=invoice subscription_id=subscription currency",
        whole="amount_total_minor=amount_total",
        moment="expires_at",
        json="metadata",
    ),
    _spec(
        "events",
        "event",
        "type",
        text="type rendered_in=api_version object_type=data.object.object object_id=data.object.id request_id=request.id",
        moment="next_payment_attempt_at=data.object.next_payment_attempt object_created_at=data.object.created",
    ),
)

OBJECTS: Mapping[str, ObjectSpec] = {spec.name: spec for spec in _SPECS}
"""Every object that is ingested, by its name in the lake, in the order in which it is read."""

BY_STRIPE_OBJECT: Mapping[str, str] = {spec.stripe_object: spec.name for spec in _SPECS}
"""Lake name by the `object` field of Stripe's JSON."""

PEOPLE = frozenset({"customers", "payment_methods"})
"""What is of a person through and through: of one who was erased no row is left, while money stays without him."""

IMMUTABLE = frozenset({"events"})
"""What never changes: the first copy stays, so that its `fetched_at` says since when we know of it."""


@cache
def known_fields(name: str) -> frozenset[str]:
    """What objects of that lake name have at their top level in the pinned API version, as its documentation lists them."""
    with (files("tinko_pipelines.lake") / "data" / "stripe_fields.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["object"] == name]
    newest = max(rows, key=lambda row: row["api_version"])
    return frozenset(newest["fields"].split())


QUARANTINE = pa.schema(
    [
        ("object_name", TEXT),
        ("account_id", TEXT),
        ("id", TEXT),
        ("reason", TEXT),
        ("fetched_at", MOMENT),
        ("body", TEXT),
    ]
)
