"""Situations made to order for tests: failed debts of chosen codes, odd objects, and the books cooked on purpose."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tinko_pipelines.sandbox import cards, charging, people, renewals
from tinko_pipelines.sandbox.actions import Actions, intents_of
from tinko_pipelines.sandbox.errors import bad_parameter
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.ports import CardTruth, Decision
from tinko_pipelines.sandbox.shapes import payments as shapes
from tinko_pipelines.sandbox.shapes.people import address
from tinko_pipelines.sandbox.store import Object
from tinko_pipelines.sandbox.world.answers import declined


def make(actions: Actions, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Make one fixture; unknown kinds and fields are refused by name."""
    if kind not in KINDS:
        raise bad_parameter(f"kind is one of {', '.join(sorted(KINDS))}", "kind")
    try:
        return KINDS[kind](actions, **fields)
    except TypeError as error:
        raise bad_parameter(f"fixture {kind}: {error}", kind) from None


def scripted_card(
    key: str, *, brand: str = "visa", country: str = "US", funding: str = "credit", last4: str = "1881"
) -> CardTruth:
    """A card whose answers a script gives."""
    return CardTruth(
        key=key,
        brand=brand,
        network=brand,
        funding=funding,
        country=country,
        exp_month=12,
        exp_year=2034,
        fingerprint=object_id(0, "fp", key)[3:19],
        last4=last4,
        issuer="fixture-bank",
    )


def customer(
    actions: Actions,
    *,
    email: str = "fixture@example.com",
    name: str = "Fixture",
    country: str = "US",
    locale: str = "en-US",
    card: str | None = None,
    code: str | None = None,
    passes_at: int | None = None,
    codes: list[tuple[int, str | None]] | None = None,
    brand: str = "visa",
) -> dict[str, Any]:
    """A customer with a card: a test token, or one that declines with `code` until `passes_at` (None: for ever).

    `codes` gives the whole script instead: from which moment on which code, None for approval.
    """
    book = actions.book
    fields = {"name": name, "address": address(country), "preferred_locales": [locale]}
    made = people.create_customer(book, email, email, **fields)
    script = codes
    if script is None and card is None:
        script = [(0, code)] if passes_at is None else [(0, code), (passes_at, None)]
    truth = cards.token_card(card) if card else scripted_card(made["id"], country=country, brand=brand)
    if truth is None:
        raise bad_parameter(f"No such test token: '{card}'", "card")
    method = people.add_card(book, made, truth, script)
    return {"customer": made["id"], "payment_method": method["id"]}


def failed_invoice(
    actions: Actions,
    *,
    amount_minor: int = 1_900,
    currency: str = "usd",
    code: str | None = "insufficient_funds",
    stripe_retries: bool = False,
    **who: Any,
) -> dict[str, Any]:
    """A subscriber whose invoice has just failed (or not, with code null)."""
    book = actions.book
    made = customer(actions, code=code, **who)
    price = actions.create_price(f"Fixture {amount_minor}", amount_minor, currency, "month", 1)
    subscription = book.find("subscriptions", actions.create_subscription(made["customer"], price))
    invoice, tried = renewals.renew(book, subscription, "subscription_cycle", stripe_retries=stripe_retries)
    charge = tried.charge["id"] if tried and tried.charge else None
    intent = intents_of(book, invoice["id"])[0]
    return {
        **made,
        "subscription": subscription["id"],
        "invoice": invoice["id"],
        "payment_intent": intent,
        "charge": charge,
    }


def failed_intent(
    actions: Actions,
    *,
    amount_minor: int = 2_500,
    currency: str = "usd",
    code: str | None = "insufficient_funds",
    on_session: bool = False,
    save_card: bool = True,
    order_id: str = "order-fixture",
    **who: Any,
) -> dict[str, Any]:
    """A customer whose order has just failed (or not, with code null)."""
    made = customer(actions, code=code, **who)
    intent = actions.charge_one_off(made["customer"], amount_minor, currency, on_session, save_card, order_id)
    found = actions.book.find("payment_intents", intent)
    return {**made, "payment_intent": intent, "charge": found["latest_charge"]}


def legacy_charge(
    actions: Actions,
    *,
    amount_minor: int = 3_000,
    currency: str = "usd",
    code: str = "do_not_honor",
    **who: Any,
) -> dict[str, Any]:
    """A failed charge without a payment intent, as old integrations make them."""
    book = actions.book
    made = customer(actions, code=code, **who)
    method = book.find("payment_methods", made["payment_method"])
    name = book.fresh_id("charges", "ch", made["customer"], "legacy")
    nobody = shapes.payment_intent(name, book.now, amount_minor, currency, made["customer"])
    charge = shapes.charge(name, book.now, nobody, method, declined(code, method["card"]["brand"]))
    book.put("charges", {**charge, "payment_intent": None})
    book.emit("charge.failed", book.find("charges", name))
    return {**made, "charge": name}


def bypass_charge(actions: Actions, *, debt: str) -> dict[str, Any]:
    """Charge a debt successfully past every safeguard, paid or not: the audit must see it."""
    book = actions.book
    intent = book.find("payment_intents", intents_of(book, debt)[0])
    made = book.store.related("charges", "payment_intent", intent["id"])
    method = book.find("payment_methods", made[-1]["payment_method"])
    name = object_id(book.seed, "ch", intent["id"], "bypass", len(made))
    charge = shapes.charge(name, book.now, intent, method, Decision(outcome="approved"))
    charging.collect(book, intent, charge)
    return {"charge": name}


def raw(actions: Actions, *, object: str, body: Object) -> dict[str, Any]:
    """Any object under its list's name (such as `charges`), well-formed or not; only its id is needed."""
    if not isinstance(body.get("id"), str):
        raise bad_parameter("body needs an id", "body")
    actions.book.put(object, body)
    return {"id": body["id"]}


def amend(actions: Actions, *, object: str, id: str, fields: Object) -> dict[str, Any]:
    """Overwrite fields of an object that is there, sensibly or not."""
    item = actions.book.find(object, id)
    item.update(fields)
    actions.book.put(object, item)
    return {"id": id}


def card_end(actions: Actions, *, id: str, month: int, year: int, by_updater: bool = False) -> dict[str, Any]:
    """Let a card end with this month, as its merchant says or, `by_updater`, as its bank told Stripe."""
    method = actions.book.find("payment_methods", id)
    event = "payment_method.automatically_updated" if by_updater else "payment_method.updated"
    ends = {"exp_month": month, "exp_year": year}
    actions.book.change("payment_methods", method, event, card={**method["card"], **ends})
    return {"id": id}


def fresh_card(actions: Actions, owner: str) -> CardTruth:
    """A card in good order for a customer; test tokens have their own."""
    number = len(actions.book.store.places("payment_methods", {"customer": owner}))
    token = cards.token_card("pm_card_visa")
    if token is None:
        raise RuntimeError("pm_card_visa is no token any more")
    key = f"fresh:{owner}:{number}"
    return replace(token, key=key, fingerprint=object_id(0, "fp", key)[3:19])


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "customer": customer,
    "failed_invoice": failed_invoice,
    "failed_intent": failed_intent,
    "legacy_charge": legacy_charge,
    "bypass_charge": bypass_charge,
    "raw": raw,
    "amend": amend,
    "card_end": card_end,
}
