"""Whatever has happened since the plan, or forbids a retry from the start: no call is made, and the reason is kept.

All debts are drained at once, and each card would pass by then, so a missing check would be a charge.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.retry.shop import Shop, Watched, passing_later
from tinko_pipelines.ledger.schema import case_event, recovery_case


@dataclass(frozen=True)
class Situation:
    """What happens to which kind of debt, before the plan or after it, and where the case must then stand."""

    kind: str
    state: str
    reason: str
    who: tuple[tuple[str, Any], ...] = ()


SITUATIONS = {
    "nothing": Situation("invoice", "recovered", "our retry succeeded"),
    "nothing, an intent": Situation("payment_intent", "recovered", "our retry succeeded"),
    "paid": Situation("invoice", "paid_elsewhere", "invoice is paid"),
    "paid, an intent": Situation("payment_intent", "paid_elsewhere", "payment intent is succeeded"),
    "paid and refunded": Situation("invoice", "paid_elsewhere", "invoice is paid"),
    "paid by another intent": Situation("payment_intent", "needs_human", "the customer paid as much by charge"),
    "cancelled": Situation("payment_intent", "cancelled", "payment intent is canceled"),
    "voided": Situation("invoice", "cancelled", "invoice is void"),
    "uncollectible": Situation("invoice", "cancelled", "invoice is uncollectible"),
    "refunded": Situation("payment_intent", "cancelled", "was refunded"),
    "disputed": Situation("invoice", "cancelled", "is disputed"),
    "subscription gone": Situation("invoice", "cancelled", "subscription is cancelled"),
    "customer deleted": Situation("payment_intent", "cancelled", "customer is deleted"),
    "gone at Stripe": Situation("invoice", "needs_human", "No such invoice"),
    "amount changed": Situation("invoice", "needs_human", "owed is 500 usd, planned 1900 usd"),
    "currency changed": Situation("payment_intent", "needs_human", "owed is 2500 eur, planned 2500 usd"),
    "other mode": Situation("invoice", "needs_human", "the other mode"),
    "under way": Situation("payment_intent", "needs_human", "payment intent is processing"),
    "Stripe retries": Situation("invoice", "open", "Stripe retries this invoice itself"),
    "sent, not charged": Situation("invoice", "open", "the invoice is sent, not charged"),
    "method detached": Situation("payment_intent", "open", "no longer the customer's"),
    "method became a bank debit": Situation("payment_intent", "open", "only cards are retried"),
    "method became Indian": Situation("invoice", "open", "cards issued in India need the customer"),
    "India": Situation("invoice", "open", "cards issued in India need the customer", (("country", "IN"),)),
    "no consent": Situation(
        "payment_intent", "open", "no evidence of off-session consent", (("on_session", True), ("save_card", False))
    ),
    "bank debit": Situation("payment_intent", "open", "only cards are retried"),
}  # fmt: skip
CALLED = ("nothing", "nothing, an intent")
NEVER_PLANNED = ("India", "no consent", "bank debit")


def before_the_plan(shop: Shop, name: str, made: dict[str, Any]) -> None:
    if name == "bank debit":
        debit = {"type": "us_bank_account"}
        shop.stripe.fixture("amend", object="payment_methods", id=made["payment_method"], fields=debit)


def after_the_plan(shop: Shop, name: str, made: dict[str, Any]) -> None:
    def amend(kind: str, which: str, **fields: Any) -> None:
        shop.stripe.fixture("amend", object=kind, id=made[which], fields=fields)

    def other_default() -> None:
        shop.stripe.act("attach_card", made["customer"], card="fresh")

    def pay_another_intent() -> None:
        other_default()
        (card,) = set(shop.cards(made["customer"])) - {made["payment_method"]}
        shop.post("/v1/payment_intents", amount=2500, currency="usd", customer=made["customer"],
                  payment_method=card, confirm=True, metadata={"order_id": name})  # fmt: skip

    deeds: dict[str, list[Any]] = {
        "paid": [lambda: shop.stripe.act("pay", made["invoice"])],
        "paid, an intent": [lambda: shop.stripe.act("pay", made["payment_intent"])],
        "paid and refunded": [
            lambda: shop.stripe.act("pay", made["invoice"]),
            lambda: shop.stripe.act("refund", made["invoice"]),
        ],
        "paid by another intent": [pay_another_intent],
        "cancelled": [lambda: shop.post(f"/v1/payment_intents/{made['payment_intent']}/cancel")],
        "voided": [lambda: shop.stripe.act("void_invoice", made["invoice"])],
        "uncollectible": [lambda: amend("invoices", "invoice", status="uncollectible")],
        "refunded": [lambda: amend("charges", "charge", amount_refunded=1)],
        "disputed": [lambda: amend("charges", "charge", disputed=True)],
        "subscription gone": [lambda: amend("subscriptions", "subscription", status="canceled")],
        "customer deleted": [lambda: shop.stripe.act("delete_customer", made["customer"])],
        "gone at Stripe": [lambda: name_another(shop, made["invoice"])],
        "amount changed": [lambda: amend("invoices", "invoice", amount_remaining=500)],
        "currency changed": [lambda: amend("payment_intents", "payment_intent", currency="eur")],
        "other mode": [lambda: amend("invoices", "invoice", livemode=True)],
        "under way": [lambda: amend("payment_intents", "payment_intent", status="processing")],
        "Stripe retries": [lambda: amend("invoices", "invoice", next_payment_attempt=shop.at(3))],
        "sent, not charged": [lambda: amend("invoices", "invoice", collection_method="send_invoice")],
        "method detached": [lambda: shop.post(f"/v1/payment_methods/{made['payment_method']}/detach")],
        "method became a bank debit": [
            other_default,
            lambda: amend("payment_methods", "payment_method", type="us_bank_account"),
        ],
        "method became Indian": [
            other_default,
            lambda: amend("payment_methods", "payment_method", card={"country": "IN"}),
        ],
    }
    for deed in deeds.get(name, []):
        deed()


def name_another(shop: Shop, debt: str) -> None:
    with shop.app.ledger.write() as connection:
        named = recovery_case.c.debt_id == debt
        connection.execute(recovery_case.update().where(named).values(live_object_id="in_elsewhere"))


@pytest.fixture(scope="module")
def drained(shared_shop: Shop) -> tuple[Shop, dict[str, dict[str, Any]], Watched]:
    """Every situation planned, changed behind our back, and drained twice, a day apart."""
    shop = shared_shop
    made = {}
    for number, (name, one) in enumerate(SITUATIONS.items()):
        kind = {"invoice": "failed_invoice", "payment_intent": "failed_intent"}[one.kind]
        who = {"email": f"{number}@example.com", **dict(one.who)}
        if one.kind == "payment_intent":
            who["order_id"] = name
        made[name] = shop.stripe.fixture(kind, codes=passing_later(shop), **who)
        before_the_plan(shop, name, made[name])
    shop.refresh()
    shop.until_due(*(made[name][SITUATIONS[name].kind] for name in SITUATIONS if name not in NEVER_PLANNED))
    for name in SITUATIONS:
        after_the_plan(shop, name, made[name])
    watched = shop.watch()
    shop.app.drain(owner="test")
    shop.advance_hours(25)
    shop.app.drain(owner="test")
    return shop, made, watched


@pytest.mark.parametrize("name", SITUATIONS)
def test_nothing_is_charged_any_more(
    drained: tuple[Shop, dict[str, dict[str, Any]], Watched], name: str
) -> None:
    shop, made, watched = drained
    wanted, debt = SITUATIONS[name], made[name][SITUATIONS[name].kind]
    case = shop.case(debt)
    calls = [path for path in watched.charging() if f"/{case['live_object_id']}/" in path]
    assert len(calls) == (1 if name in CALLED else 0)
    assert case["state"] == wanted.state
    events = [row["detail"] for row in shop.rows(case_event) if row["case_id"] == case["id"]]
    reasons = [case["state_reason"], *events, *(row["detail"] for row in shop.attempts(debt))]
    assert any(wanted.reason in reason for reason in reasons if reason), reasons
    if name in NEVER_PLANNED:
        assert (shop.attempts(debt), case["max_attempts"]) == ([], 0)
    elif wanted.state == "open":
        assert {row["state"] for row in shop.attempts(debt)} == {"abandoned"}
