"""The book's side of the seam to the world: `StripeActions`, and the clock that lets both of them act."""

from collections.abc import Callable, Mapping

from tinko_pipelines.sandbox import aftermath, billing, charging, people
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.cards import mark_spent, new_method, truth_of
from tinko_pipelines.sandbox.errors import StripeRefusalError
from tinko_pipelines.sandbox.ports import CardTruth
from tinko_pipelines.sandbox.renewals import HAPPENINGS, renew
from tinko_pipelines.sandbox.shapes import billing as shapes
from tinko_pipelines.sandbox.shapes import payments
from tinko_pipelines.sandbox.shapes.people import address
from tinko_pipelines.sandbox.store import Object

MOST_HAPPENINGS = 20_000_000


class Actions:
    """Implements `ports.StripeActions` on a book."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def advance(self, until: int) -> int:
        """Let everything happen that is due, in order, and stand at `until`; how much happened."""
        book = self.book
        for count in range(MOST_HAPPENINGS):
            due = book.store.pop(until)
            if due is None:
                book.now = max(book.now, until)
                book.forget_old_events()
                return count
            at, kind, payload = due
            book.now = max(book.now, at)
            with book.asked_by(None, None):
                if kind in HAPPENINGS:
                    HAPPENINGS[kind](book, payload)
                else:
                    book.world.handle(self, kind, payload)
        raise RuntimeError(f"more than {MOST_HAPPENINGS} happenings until {until}: something repeats itself")

    def now(self) -> int:
        """The book's present moment."""
        return self.book.now

    def schedule(self, at: int, kind: str, payload: Mapping[str, object]) -> None:
        """Have `World.handle(kind, payload)` called when the clock passes `at`."""
        self.book.store.push(at, kind, payload)

    def create_customer(
        self, email: str, name: str, country: str, locale: str, card: CardTruth | None
    ) -> str:
        """A customer, with `card` attached as the default for invoices."""
        fields = {"name": name, "address": address(country), "preferred_locales": [locale]}
        customer = people.create_customer(self.book, email, email, **fields)
        if card is not None:
            people.add_card(self.book, customer, card)
        return str(customer["id"])

    def attach_card(self, customer: str, card: CardTruth) -> str:
        """Attach another card and make it the default of customer and subscriptions."""
        return str(people.add_card(self.book, self.book.find("customers", customer), card)["id"])

    def create_price(
        self, nickname: str, unit_amount_minor: int, currency: str, interval: str, interval_count: int
    ) -> str:
        """A recurring price, of a product of the same name."""
        book = self.book
        product = book.fresh_id("products", "prod", nickname, currency)
        book.put("products", shapes.product(product, book.now, nickname))
        name = book.fresh_id("prices", "price", nickname, currency, unit_amount_minor)
        made = shapes.price(
            name, book.now, product, unit_amount_minor, currency, interval, interval_count, nickname=nickname
        )
        book.put("prices", made)
        book.emit("price.created", made)
        return name

    def create_subscription(self, customer: str, price: str) -> str:
        """A subscription charged automatically, moved here from elsewhere, so its first invoice is a cycle's."""
        owner = self.book.find("customers", customer)
        method = people.default_of(owner)
        made = billing.create_subscription(self.book, owner, self.book.find("prices", price), method)
        return str(made["id"])

    def renew(self, subscription: str, stripe_retries: bool) -> str:
        """Bill one period; an ended subscription, or a deleted customer's, is billed no more: no id then."""
        found = self.book.find("subscriptions", subscription)
        if found["status"] in billing.ENDED:
            return ""
        invoice, _ = renew(self.book, found, "subscription_cycle", stripe_retries=stripe_retries)
        return str(invoice["id"])

    def charge_one_off(
        self,
        customer: str,
        amount_minor: int,
        currency: str,
        on_session: bool,
        save_card: bool,
        order_id: str,
    ) -> str:
        """A payment intent with its first charge, on the customer's card; a card not saved is not kept."""
        book = self.book
        method_id = people.wallet_of(book, customer)
        if method_id is None:
            raise StripeRefusalError(400, f"customer {customer} has no card to order with")
        method = book.find("payment_methods", method_id)
        if not save_card and method["customer"] is not None:
            people.detach(book, method, spend=False)
        intent = payments.payment_intent(
            book.fresh_id("payment_intents", "pi", customer, order_id),
            book.now,
            amount_minor,
            currency,
            customer,
            description=f"Order {order_id}",
            metadata={"order_id": order_id},
            setup_future_usage="off_session" if save_card or not on_session else None,
        )
        book.put("payment_intents", intent)
        book.emit("payment_intent.created", intent)
        charging.charge(book, intent, method, off_session=not on_session)
        if method["customer"] is None:
            mark_spent(book, method["id"])
        return str(intent["id"])

    def pay_on_session(self, debt: str, card: CardTruth | None) -> bool:
        """The customer pays himself, with `card` or the one at hand; a card not kept is typed in again."""
        book = self.book
        intents = [book.find("payment_intents", name) for name in intents_of(book, debt)]
        if not self.is_open(debt) or any(intent["status"] not in charging.PAYABLE for intent in intents):
            return False
        owner = book.find("customers", self.customer_of(debt))
        if card is not None:
            method = people.add_card(book, owner, card)
        else:
            at_hand = people.wallet_of(book, owner["id"])
            if at_hand is None:
                return False
            method = book.find("payment_methods", at_hand)
            if method["customer"] is None:
                method = new_method(book, truth_of(book, at_hand), owner, attached=False)
        return pay_debt(book, debt, method, off_session=False)

    def cancel_subscription(self, subscription: str, reason: str) -> None:
        """End a subscription now; one already ended stays as it is."""
        found = self.book.find("subscriptions", subscription)
        if found["status"] not in billing.ENDED:
            billing.cancel_subscription(self.book, found, reason)

    def cancel_intent(self, intent: str) -> None:
        """Give up an intent of no invoice while that is possible."""
        found = self.book.find("payment_intents", intent)
        if found["status"] in charging.PAYABLE and not charging.invoice_payment_of(self.book, intent):
            charging.cancel(self.book, found, "requested_by_customer")

    def order_again(self, intent: str, fresh: Callable[["Actions", str], CardTruth]) -> None:
        """The customer orders the same by a second intent, with another card; nothing if he is gone."""
        found = self.book.find("payment_intents", intent)
        customer = self.book.find("customers", found["customer"])
        if not customer.get("deleted"):
            self.attach_card(customer["id"], fresh(self, customer["id"]))
            order = str((found["metadata"] or {}).get("order_id", ""))
            self.charge_one_off(customer["id"], found["amount"], found["currency"], True, True, order)

    def void_invoice(self, invoice: str) -> None:
        """Void an open invoice."""
        billing.void(self.book, self.book.find("invoices", invoice))

    def refund(self, debt: str, amount_minor: int | None) -> None:
        """Refund a paid debt as far as anything is left; a disputed one is left alone."""
        charge = self._collected(debt)
        if charge is None or charge["refunded"] or charge["disputed"]:
            return
        left = charge["amount"] - charge["amount_refunded"]
        amount = left if amount_minor is None else min(left, amount_minor)
        aftermath.refund(self.book, charge, amount, "requested_by_customer")

    def dispute(self, debt: str) -> None:
        """The cardholder disputes the successful charge, once, unless he has all his money back."""
        charge = self._collected(debt)
        if charge is not None and not charge["disputed"] and not charge["refunded"]:
            aftermath.dispute(self.book, charge)

    def is_open(self, debt: str) -> bool:
        """Whether an invoice or intent is still owed."""
        invoice = self.book.store.get("invoices", debt)
        if invoice is not None:
            return bool(invoice["status"] == "open")
        intent = self.book.store.get("payment_intents", debt)
        return intent is not None and intent["status"] in charging.PAYABLE

    def is_paid(self, debt: str) -> bool:
        """Whether an invoice or intent has a successful charge."""
        return self._collected(debt) is not None

    def customer_of(self, debt: str) -> str:
        """The customer an invoice or intent belongs to."""
        return str(debt_object(self.book, debt)["customer"])

    def _collected(self, debt: str) -> Object | None:
        intents = intents_of(self.book, debt)
        found = (aftermath.successful_charge(self.book, intent) for intent in intents)
        return next((charge for charge in found if charge is not None), None)


def debt_object(book: Book, debt: str) -> Object:
    """The invoice or intent of that id."""
    return book.find("invoices" if debt.startswith("in_") else "payment_intents", debt)


def intents_of(book: Book, debt: str) -> list[str]:
    """Ids of the intents that collect a debt."""
    if not debt.startswith("in_"):
        return [debt] if debt else []
    links = book.store.related("invoice_payments", "invoice", debt)
    return [str(link["payment"]["payment_intent"]) for link in links]


def pay_debt(book: Book, debt: str, method: Object, *, off_session: bool) -> bool:
    """Charge an invoice or intent once; an intent of an invoice pays the invoice. Whether it is paid now."""
    if debt.startswith("in_"):
        tried = billing.pay(book, book.find("invoices", debt), method, off_session=off_session)
    else:
        intent = book.find("payment_intents", debt)
        tried = charging.charge(book, intent, method, off_session=off_session)
    return tried.decision.outcome == "approved"
