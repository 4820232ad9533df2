"""A book in memory that shows what a world did, and a sandbox in a process of its own with the SDK before it."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import stripe

from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.ports import CardTruth, Decision, World
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import SANDBOX_KEY


@dataclass
class Debt:
    customer: str
    amount_minor: int
    currency: str
    subscription: str | None = None
    stripe_retries: bool = False
    off_session: bool = True
    order_id: str = ""
    state: str = "open"
    first: tuple[int, CardTruth, Decision] | None = None
    attempts: list[tuple[int, str]] = field(default_factory=list)


class Recorder:
    """Implements `StripeActions`; ids are counted, happenings run in time order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = 0
        self.queue: list[tuple[int, int, str, dict[str, object]]] = []
        self.counter = itertools.count()
        self.debts: dict[str, Debt] = {}
        self.cards: dict[str, CardTruth] = {}
        self.people: dict[str, tuple[str, str, str]] = {}
        self.prices: dict[str, tuple[int, str, str]] = {}
        self.subscriptions: dict[str, tuple[str, str]] = {}
        self.did: Counter[str] = Counter()

    def run(self, until: int) -> None:
        for _ in range(2_000_000):
            if not self.queue or self.queue[0][0] > until:
                break
            at, _, kind, payload = heapq.heappop(self.queue)
            self.clock = max(self.clock, at)
            self.did[f"happened:{kind}"] += 1
            self.world.handle(self, kind, payload)
        self.clock = max(self.clock, until)

    def now(self) -> int:
        return self.clock

    def schedule(self, at: int, kind: str, payload: Mapping[str, object]) -> None:
        assert at >= self.clock
        assert all(isinstance(value, str | int | bool) for value in payload.values()), "JSON scalars only"
        heapq.heappush(self.queue, (at, next(self.counter), kind, dict(payload)))

    def create_customer(
        self, email: str, name: str, country: str, locale: str, card: CardTruth | None
    ) -> str:
        customer = f"cus_{len(self.people)}"
        self.people[customer] = (email, country, locale)
        if card is not None:
            self.cards[customer] = card
        return customer

    def attach_card(self, customer: str, card: CardTruth) -> str:
        self.did["attach_card"] += 1
        self.cards[customer] = card
        return f"pm_{card.key}"

    def create_price(
        self, nickname: str, unit_amount_minor: int, currency: str, interval: str, interval_count: int
    ) -> str:
        price = f"price_{len(self.prices)}"
        self.prices[price] = (unit_amount_minor, currency, interval)
        return price

    def create_subscription(self, customer: str, price: str) -> str:
        subscription = f"sub_{next(self.counter)}"
        self.subscriptions[subscription] = (customer, price)
        return subscription

    def renew(self, subscription: str, stripe_retries: bool) -> str:
        assert subscription in self.subscriptions, "billed after its end"
        customer, price = self.subscriptions[subscription]
        amount, currency, _ = self.prices[price]
        return self._new_debt("in", Debt(customer, amount, currency, subscription, stripe_retries))

    def charge_one_off(
        self,
        customer: str,
        amount_minor: int,
        currency: str,
        on_session: bool,
        save_card: bool,
        order_id: str,
    ) -> str:
        self.did["one_off"] += 1
        debt = Debt(customer, amount_minor, currency, off_session=not on_session, order_id=order_id)
        return self._new_debt("pi", debt)

    def pay_on_session(self, debt: str, card: CardTruth | None) -> bool:
        assert self.is_open(debt), "paid what is not owed"
        self.did["pay_on_session"] += 1
        if card is not None:
            self.cards[self.debts[debt].customer] = card
        return self.attempt(debt, off_session=False)

    def cancel_subscription(self, subscription: str, reason: str) -> None:
        self.did[f"cancel:{reason}"] += 1
        assert self.subscriptions.pop(subscription, None) is not None, "cancelled twice"

    def void_invoice(self, invoice: str) -> None:
        assert self.is_open(invoice)
        self.did["void"] += 1
        self.debts[invoice].state = "void"

    def refund(self, debt: str, amount_minor: int | None) -> None:
        assert self.is_paid(debt)
        assert amount_minor is None or amount_minor <= self.debts[debt].amount_minor
        self.did["refund"] += 1

    def dispute(self, debt: str) -> None:
        assert self.is_paid(debt)
        self.did["dispute"] += 1

    def is_open(self, debt: str) -> bool:
        return self.debts[debt].state == "open"

    def is_paid(self, debt: str) -> bool:
        return self.debts[debt].state == "paid"

    def customer_of(self, debt: str) -> str:
        return self.debts[debt].customer

    def attempt(self, debt_id: str, *, off_session: bool) -> bool:
        debt = self.debts[debt_id]
        card = self.cards[debt.customer]
        answer = self.world.decide(card, self.clock, debt.amount_minor, debt.currency, off_session)
        debt.first = debt.first or (self.clock, card, answer)
        debt.attempts.append((self.clock, answer.decline_code or answer.outcome))
        if answer.outcome == "approved":
            debt.state = "paid"
        return answer.outcome == "approved"

    def failed_first(self) -> list[Debt]:
        return [debt for debt in self.debts.values() if debt.attempts[0][1] != "approved"]

    def _new_debt(self, prefix: str, debt: Debt) -> str:
        debt_id = f"{prefix}_{len(self.debts)}"
        self.debts[debt_id] = debt
        self.attempt(debt_id, off_session=debt.off_session)
        return debt_id


@pytest.fixture
def recorder() -> Callable[[World], Recorder]:
    """Makes a book for a world, with the world begun."""

    def make(world: World) -> Recorder:
        book = Recorder(world)
        world.begin(book)
        return book

    return make


_sessions: list[stripe.RequestsClient] = []


def sdk(base: str, key: str = SANDBOX_KEY, timeout: float = 30) -> stripe.StripeClient:
    """Stripe's own client, without retries of its own."""
    http = stripe.RequestsClient(timeout=timeout)
    _sessions.append(http)
    return stripe.StripeClient(key, base_addresses={"api": base}, max_network_retries=0, http_client=http)


@pytest.fixture(autouse=True)
def sdk_sessions_closed() -> Iterator[None]:
    yield
    while _sessions:
        _sessions.pop().close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A small sandbox with a month of history, one for a module."""
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), seed=5, charges=300, history_days=40) as process:
        yield process


@pytest.fixture
def control(sandbox: SandboxProcess) -> Iterator[SandboxClient]:
    """The control API; trouble ordered in a test ends with it."""
    client = SandboxClient(sandbox.base)
    yield client
    client.faults([])
    client.limit(None)


@pytest.fixture
def api(sandbox: SandboxProcess) -> stripe.StripeClient:
    return sdk(sandbox.base)
