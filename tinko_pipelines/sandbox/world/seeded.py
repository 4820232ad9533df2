"""The seeded world as the sandbox's book sees it: it opens the shop, bills, and answers authorizations.

What customers and the merchant do of their own accord after a charge is in `behaviour`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tinko_pipelines.sandbox.ports import EPOCH, CardTruth, Decision, StripeActions
from tinko_pipelines.sandbox.world import behaviour, issuers
from tinko_pipelines.sandbox.world.draw import DAY, uniform
from tinko_pipelines.sandbox.world.population import (
    CURRENCIES,
    PLANS,
    first_card,
    one_off_amount_minor,
    person,
    signup_at,
)
from tinko_pipelines.sandbox.world.test_tokens import decide_test_token

LIVES_ON_DAYS = 40
MEASURED_DAYS = 28
ONE_OFF_SHARE = 0.15
CHARGES_PER_SUBSCRIBER_IN_118_DAYS = 3.28
MOST_CUSTOMERS = 1_000_000


@dataclass(slots=True)
class LastAnswer:
    """What the newest authorization came to; read only by the handler that caused it, in the same call."""

    card: CardTruth
    decision: Decision


class SeededWorld:
    """A subscription business and everybody who pays it. Holds no memory between two happenings."""

    def __init__(self, seed: int, charges: int, history_days: int) -> None:
        """Of about `charges` first charges from the start of history until four weeks after `EPOCH`."""
        if charges < 0 or history_days < 0:
            raise ValueError(f"charges and history_days count up from 0, got {charges} and {history_days}")
        self.seed = seed
        self.begins_at = EPOCH - history_days * DAY
        self.measured_until = EPOCH + MEASURED_DAYS * DAY
        self.ends_at = EPOCH + LIVES_ON_DAYS * DAY
        share_of_days = (history_days + MEASURED_DAYS) / 118
        per_subscriber = 0.5 + (CHARGES_PER_SUBSCRIBER_IN_118_DAYS - 0.5) * share_of_days
        self.one_offs = min(round(charges * ONE_OFF_SHARE), MOST_CUSTOMERS)
        self.subscribers = min(round(charges * (1 - ONE_OFF_SHARE) / per_subscriber), MOST_CUSTOMERS)
        self._last: LastAnswer | None = None

    def begin(self, stripe: StripeActions) -> None:
        """Schedule the opening of the shop, which schedules the rest; an empty world never opens."""
        if self.one_offs or self.subscribers:
            stripe.schedule(self.begins_at, "open_shop", {})

    def decide(
        self, card: CardTruth, at: int, amount_minor: int, currency: str, off_session: bool
    ) -> Decision:
        """The outcome of an authorization: a pure function of the seed, the card and the moment."""
        if card.test_token is not None:
            decision = decide_test_token(card.test_token, off_session)
        else:
            decision = issuers.decide(self.seed, card, at, amount_minor, currency.lower(), off_session)
        self._last = LastAnswer(card, decision)
        return decision

    def handle(self, stripe: StripeActions, kind: str, payload: Mapping[str, object]) -> None:
        """Act on a happening scheduled earlier; kinds of nobody's making are an error."""
        own = {
            "open_shop": self._open_shop,
            "signup": self._signup,
            "renewal": self._renewal,
            "one_off": self._one_off,
        }
        if kind in own:
            own[kind](stripe, payload)
        elif kind in behaviour.HANDLERS:
            behaviour.HANDLERS[kind](self, stripe, payload)
        else:
            raise ValueError(f"the seeded world knows no happening of kind {kind!r}")

    def mail_delivered(self, stripe: StripeActions, customer: str, debt: str, message_id: str) -> None:
        """Let the customer visit the payment page some hours or days later, if this mail moves him."""
        behaviour.read_mail(self.seed, stripe, customer, debt, message_id)

    def forget_answer(self) -> None:
        """Forget the newest authorization, before causing another one."""
        self._last = None

    def last_answer(self) -> LastAnswer | None:
        """The answer that the charge just caused came to; None if the book charged nothing."""
        return self._last

    def _open_shop(self, stripe: StripeActions, payload: Mapping[str, object]) -> None:
        prices = {
            (index, currency): stripe.create_price(
                plan.nickname, plan.price_minor(currency), currency, plan.interval, 1
            )
            for index, plan in enumerate(PLANS)
            for currency in CURRENCIES
        }
        for number in range(self.subscribers):
            who = person(self.seed, number)
            at = signup_at(self.seed, who, self.begins_at, self.measured_until)
            stripe.schedule(at, "signup", {"person": number, "price": prices[who.plan, who.currency]})
        for order in range(self.one_offs):
            number = self.subscribers + order
            share = uniform(self.seed, "order-at", number)
            at = self.begins_at + int(share * (self.measured_until - self.begins_at))
            stripe.schedule(at, "one_off", {"person": number})

    def _signup(self, stripe: StripeActions, payload: Mapping[str, object]) -> None:
        number = int(str(payload["person"]))
        who = person(self.seed, number)
        card = first_card(self.seed, who)
        customer = stripe.create_customer(who.email, who.full_name, who.country, who.locale, card)
        subscription = stripe.create_subscription(customer, str(payload["price"]))
        self._renewal(
            stripe,
            {"person": number, "customer": customer, "subscription": subscription, "period": 0, "unpaid": ""},
        )

    def _renewal(self, stripe: StripeActions, payload: Mapping[str, object]) -> None:
        number, period = int(str(payload["person"])), int(str(payload["period"]))
        customer, subscription = str(payload["customer"]), str(payload["subscription"])
        who = person(self.seed, number)
        unpaid = [debt for debt in str(payload["unpaid"]).split() if stripe.is_open(debt)]
        if len(unpaid) >= 2:
            stripe.cancel_subscription(subscription, "payment_failed")
            return
        self.forget_answer()
        invoice = stripe.renew(subscription, who.stripe_retries)
        name = f"{number}:{period}"
        leaves = behaviour.after_first_charge(self, stripe, name, invoice, customer, subscription)
        at = stripe.now() + PLANS[who.plan].days * DAY
        if leaves or at > self.ends_at:
            return
        failed = behaviour.was_declined(self.last_answer())
        stripe.schedule(
            at,
            "renewal",
            {**payload, "period": period + 1, "unpaid": " ".join([*unpaid, invoice]) if failed else ""},
        )

    def _one_off(self, stripe: StripeActions, payload: Mapping[str, object]) -> None:
        number = int(str(payload["person"]))
        who = person(self.seed, number)
        card = first_card(self.seed, who)
        customer = stripe.create_customer(who.email, who.full_name, who.country, who.locale, card)
        on_session = uniform(self.seed, "present", number) < 0.7
        saves = not on_session or uniform(self.seed, "saves", number) < 0.45
        amount = one_off_amount_minor(self.seed, number, who.currency)
        order = f"order-{number:06d}"
        self.forget_answer()
        intent = stripe.charge_one_off(customer, amount, who.currency, on_session, saves, order)
        bill = {"order": order, "amount": amount, "currency": who.currency}
        behaviour.after_first_charge(self, stripe, str(number), intent, customer, None, bill)
