"""Cards behind payment methods: what the world knows of them, test tokens, scripted answers, authorization."""

import re
from collections.abc import Sequence
from dataclasses import asdict

from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import missing
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.ports import CardTruth, Decision
from tinko_pipelines.sandbox.shapes import people as shapes
from tinko_pipelines.sandbox.store import Object
from tinko_pipelines.sandbox.world.answers import APPROVED, blocked, declined
from tinko_pipelines.sandbox.world.test_tokens import (
    ALWAYS_ASKS_THE_PRESENT,
    BLOCKS,
    CONFIRMED_ON_SESSION,
    DECLINES,
)

TOKEN = re.compile(r"(?:pm_card|tok)_(\w+)", re.ASCII)
PLAIN = {
    "visa": ("visa", "credit", "4242"),
    "visa_debit": ("visa", "debit", "5556"),
    "mastercard": ("mastercard", "credit", "4444"),
    "mastercard_debit": ("mastercard", "debit", "3222"),
    "mastercard_prepaid": ("mastercard", "prepaid", "5100"),
    "amex": ("amex", "credit", "8431"),
    "discover": ("discover", "credit", "9424"),
    "diners": ("diners", "credit", "0004"),
    "jcb": ("jcb", "credit", "0505"),
    "unionpay": ("unionpay", "credit", "0005"),
}
DISPUTED = frozenset({"createdispute", "createdisputeproductnotreceived"})
HARMLESS = DISPUTED | {
    "risklevelelevated", "threedsecureoptional", "threedsecurenotsupported", "bypasspending",
}  # fmt: skip
TELLING = BLOCKS | CONFIRMED_ON_SESSION | ALWAYS_ASKS_THE_PRESENT | HARMLESS
LAST4 = {
    "chargedeclined": "0002",
    "chargedeclinedinsufficientfunds": "9995",
    "chargedeclinedlostcard": "9987",
    "chargedeclinedstolencard": "9979",
    "chargedeclinedexpiredcard": "0069",
    "chargedeclinedincorrectcvc": "0127",
    "chargedeclinedprocessingerror": "0119",
    "chargedeclinedvelocitylimitexceeded": "6975",
    "chargedeclinedfraudulent": "0019",
    "chargecustomerfail": "0341",
    "radarblock": "0101",
    "risklevelhighest": "4954",
    "authenticationrequired": "3184",
    "threedsecurerequired": "3063",
    "createdispute": "0259",
}
ATTACHES_THOUGH_DECLINED = "chargecustomerfail"
Script = Sequence[tuple[int, str | None]]
"""What a fixture's card answers from which moment on: a decline code, None to approve, or one of the
outcomes `processing` and `requires_action`."""


def special_name(token: str) -> str:
    """What is special about a test token: `pm_card_visa_chargeDeclined` is `chargedeclined`."""
    found = TOKEN.fullmatch(token)
    return found[1].lower().removeprefix("visa_") if found else ""


def token_card(token: str) -> CardTruth | None:
    """The card behind a documented test token, or None when there is no such token."""
    found = TOKEN.fullmatch(token)
    if found is None:
        return None
    name, special = found[1].lower(), special_name(token)
    known = special in DECLINES or special in TELLING
    if name not in PLAIN and not known and len(name) != 2:
        return None
    brand, funding, last4 = PLAIN.get(name, ("visa", "credit", LAST4.get(special, "4242")))
    return CardTruth(
        key=token,
        brand=brand,
        network=brand,
        funding=funding,
        country=name.upper() if len(name) == 2 else "US",
        exp_month=12,
        exp_year=2034,
        fingerprint=object_id(0, "fp", name)[3:19],
        last4=last4,
        issuer="test-bank",
        test_token=token,
    )


def billing_of(customer: Object | None) -> Object:
    """Billing details of a method whose owner, if any, is known."""
    who = customer or {}
    country = (who.get("address") or {}).get("country")
    return shapes.billing_details(who.get("email"), who.get("name"), country)


def new_method(
    book: Book, truth: CardTruth, customer: Object | None, *, attached: bool, script: Script | None = None
) -> Object:
    """Put a card into Stripe, for a customer or for nobody yet. Tells of nothing."""
    owner = customer["id"] if customer else None
    method_id = book.fresh_id("payment_methods", "pm", owner, truth.key)
    billing = billing_of(customer)
    method = shapes.payment_method(method_id, book.now, truth, owner if attached else None, billing)
    book.put("cards", {"id": method_id, "truth": asdict(truth), "script": script, "spent": False})
    return book.put("payment_methods", method)


def method_named(
    book: Book, name: str, customer: Object | None, param: str | None = "payment_method"
) -> Object:
    """The payment method of an id, or a new unattached one of a test token."""
    found = book.store.get("payment_methods", name)
    if found is not None:
        return found
    truth = token_card(name) if name.startswith("pm_") else None
    if truth is None:
        raise missing("PaymentMethod", name, param)
    return new_method(book, truth, customer, attached=False)


def truth_of(book: Book, method_id: str) -> CardTruth:
    """The card behind a payment method."""
    return CardTruth(**book.find_card(method_id)["truth"])


def mark_spent(book: Book, method_id: str) -> None:
    """Note that an unattached method was used or detached; Stripe takes it no more."""
    card = book.find_card(method_id)
    if not card["spent"]:
        card["spent"] = True
        book.put("cards", card)


def authorize(book: Book, method_id: str, amount_minor: int, currency: str, off_session: bool) -> Decision:
    """The answer of everybody behind the method to one charge at this moment."""
    card = book.find_card(method_id)
    truth = CardTruth(**card["truth"])
    if card["script"] is None:
        return book.world.decide(truth, book.now, amount_minor, currency, off_session)
    said = [code for since, code in card["script"] if since <= book.now]
    code = said[-1] if said else None
    if code is None:
        return APPROVED
    if code in ("processing", "requires_action"):
        return Decision(outcome=code)
    if code in ("highest_risk_level", "previously_declined_do_not_retry"):
        return blocked(code)
    return declined(code, truth.network)


def refused_at_attach(truth: CardTruth, decision: Decision) -> bool:
    """Whether a test card cannot even be attached: all declining ones but the one made for that."""
    special = special_name(truth.test_token or "")
    refused = decision.outcome == "declined" and decision.outcome_type == "issuer_declined"
    return refused and special != ATTACHES_THOUGH_DECLINED and special not in CONFIRMED_ON_SESSION
