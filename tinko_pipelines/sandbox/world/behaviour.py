"""What people do unasked, or after a mail: pay, leave, void, refund, dispute, bring another card.

Handlers act only on what the payload says and the book answers; chance is hashed out of names.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tinko_pipelines.sandbox.ports import StripeActions
from tinko_pipelines.sandbox.world.draw import DAY, HOUR, pick, uniform, waiting
from tinko_pipelines.sandbox.world.issuers import DEATH_CAUSES
from tinko_pipelines.sandbox.world.population import fresh_card

if TYPE_CHECKING:
    from tinko_pipelines.sandbox.world.seeded import LastAnswer, SeededWorld

REFUNDED = 0.015
DISPUTED = 0.003
LEAVES_WHILE_PAYING = 0.012
AFTER_FAILURE = (("self_pay", 0.11), ("leave", 0.05), ("void", 0.015), ("new_card", 0.03), ("nothing", 0.795))
AFTER_FAILED_ORDER = (("self_pay", 0.11), ("pay_elsewhere", 0.10), ("new_card", 0.02), ("nothing", 0.77))
MEAN_DAYS = {"self_pay": 2.5, "leave": 5.0, "void": 6.0, "new_card": 4.0, "pay_elsewhere": 0.5}
READS_MAIL = 0.55
ACTS_ON_ONE_MAIL = 0.22
TAKES_OTHER_CARD = {
    "insufficient_funds": 0.25,
    "card_velocity_exceeded": 0.25,
    "do_not_honor": 0.45,
    "generic_decline": 0.45,
    "highest_risk_level": 0.5,
    "expired_card": 0.97,
    **{cause: 0.97 for cause, _ in DEATH_CAUSES},
}
"""Who has come to pay and is declined takes another card that often; after any other answer 0.3."""


def was_declined(answer: "LastAnswer | None") -> bool:
    """Whether a charge was made and did not go through."""
    return answer is not None and answer.decision.outcome in ("declined", "requires_action")


def after_first_charge(
    world: "SeededWorld",
    stripe: StripeActions,
    name: str,
    debt: str,
    customer: str,
    subscription: str | None,
    bill: Mapping[str, object] | None = None,
) -> bool:
    """Schedule what people will do about a charge just made; tells whether the subscriber leaves."""
    seed, now = world.seed, stripe.now()
    if uniform(seed, "refund", name) < REFUNDED:
        at = now + waiting(uniform(seed, "refund-at", name), 9 * DAY, DAY, 30 * DAY)
        whole = uniform(seed, "refund-whole", name) < 0.8
        stripe.schedule(at, "refund", {"debt": debt, "whole": whole})
    if uniform(seed, "dispute", name) < DISPUTED:
        at = now + waiting(uniform(seed, "dispute-at", name), 15 * DAY, 4 * DAY, 45 * DAY)
        stripe.schedule(at, "dispute", {"debt": debt})
    answer = world.last_answer()
    if answer is None or not was_declined(answer):
        return subscription is not None and _leaves_while_paying(seed, stripe, name, subscription)
    choices = AFTER_FAILURE if subscription is not None else AFTER_FAILED_ORDER
    move = pick(choices, uniform(seed, "move", name))
    if move == "nothing":
        return False
    delay = waiting(uniform(seed, "move-at", name), MEAN_DAYS[move] * DAY, HOUR, 14 * DAY)
    whose = {"debt": debt, "customer": customer, "subscription": subscription or "", "name": name}
    stripe.schedule(now + delay, move, {**whose, "country": answer.card.country, **(bill or {})})
    return move == "leave"


def read_mail(seed: int, stripe: StripeActions, customer: str, debt: str, message_id: str) -> None:
    """Schedule the visit that a mail leads to: some customers never read, the others act on one in four."""
    if uniform(seed, "reader", customer) >= READS_MAIL:
        return
    if uniform(seed, "acts", customer, message_id) >= ACTS_ON_ONE_MAIL:
        return
    delay = waiting(uniform(seed, "visit-at", customer, message_id), 18 * HOUR, 10 * 60, 6 * DAY)
    payload = {"debt": debt, "customer": customer, "name": message_id}
    stripe.schedule(stripe.now() + delay, "visit", payload)


def _leaves_while_paying(seed: int, stripe: StripeActions, name: str, subscription: str) -> bool:
    if uniform(seed, "churn", name) >= LEAVES_WHILE_PAYING:
        return False
    at = stripe.now() + waiting(uniform(seed, "churn-at", name), 4 * DAY, DAY, 6 * DAY)
    stripe.schedule(at, "leave", {"subscription": subscription})
    return True


def _visit(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    """The customer opens the payment page, tries the card on file, and perhaps takes another one."""
    debt = str(payload["debt"])
    if not stripe.is_open(debt):
        return
    world.forget_answer()
    if stripe.pay_on_session(debt, None):
        return
    answer = world.last_answer()
    code = answer.decision.decline_code if answer is not None else None
    likely = TAKES_OTHER_CARD.get(code or "", 0.3)
    if uniform(world.seed, "other-card", debt, payload["name"]) >= likely or not stripe.is_open(debt):
        return
    country = answer.card.country if answer is not None else "US"
    stripe.pay_on_session(debt, fresh_card(world.seed, country, debt, payload["name"]))


def _new_card(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    customer = str(payload["customer"])
    stripe.attach_card(customer, fresh_card(world.seed, str(payload["country"]), customer, payload["name"]))


def _leave(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    stripe.cancel_subscription(str(payload["subscription"]), "cancellation_requested")


def _void(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    debt = str(payload["debt"])
    if stripe.is_open(debt):
        stripe.void_invoice(debt)


def _pay_elsewhere(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    """The customer orders the same again with another card, instead of paying what failed."""
    debt, customer = str(payload["debt"]), str(payload["customer"])
    if not stripe.is_open(debt):
        return
    _new_card(world, stripe, payload)
    amount, order = int(str(payload["amount"])), str(payload["order"])
    stripe.charge_one_off(customer, amount, str(payload["currency"]), True, False, order)


def _refund(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    debt = str(payload["debt"])
    if stripe.is_paid(debt):
        stripe.refund(debt, None if payload["whole"] else 100)


def _dispute(world: "SeededWorld", stripe: StripeActions, payload: Mapping[str, object]) -> None:
    debt = str(payload["debt"])
    if stripe.is_paid(debt):
        stripe.dispute(debt)


HANDLERS: dict[str, Callable[["SeededWorld", StripeActions, Mapping[str, object]], None]] = {
    "visit": _visit,
    "self_pay": _visit,
    "new_card": _new_card,
    "leave": _leave,
    "void": _void,
    "pay_elsewhere": _pay_elsewhere,
    "refund": _refund,
    "dispute": _dispute,
}
