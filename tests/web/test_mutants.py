"""Safeguards of pages and links taken away, one at a time: what a customer and a retry do beside each other must show it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.ledgers import ledger_url
from tests.retry.shop import Shop
from tests.web import counter
from tests.web.counter import Customer, link_for
from tests.web.test_paying import drain, soon_due
from tinko_pipelines.ledger import links
from tinko_pipelines.retry import checkout_end
from tinko_pipelines.retry.checkout_end import _Follow
from tinko_pipelines.sandbox.process import SandboxProcess

Swap = Callable[[Any, str, Any], None]


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Shop]:
    """Of its own each time, since what a mutant does to it stays."""
    request.param = "sqlite"
    with (
        SandboxProcess(tmp_path / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, tmp_path) as url,
    ):
        made = Shop(process.base, tmp_path / "state", ledger_url=url, public_url=counter.PUBLIC)
        made.stripe.mode(pages="own", stripe_retries="off")
        yield made
        made.app.ledger.close()


def taken(shop: Shop, debt: str) -> int:
    """How often the debt's customer, who owes nothing else, has paid, by whatever Stripe shows and the ledger need not know."""
    asked = {"customer": shop.case(debt)["customer_id"], "limit": 100}
    listed = shop.app.account().gateway.get("/v1/charges", asked).body or {}
    return sum(one["status"] == "succeeded" for one in listed["data"])


def played(shop: Shop) -> list[str]:
    """Two debts with an open page each: one customer pays at once, one when a retry has had its turn; what is wrong then."""
    with counter.served(shop.app) as base:
        customer = Customer(base)
        quick, slow = soon_due(shop), soon_due(shop)
        pages = [customer.goes_to(link_for(shop, debt)) for debt in (quick, slow)]
        customer.pays(pages[0])
        shop.advance(timedelta(hours=3, minutes=1))
        for _ in range(3):
            drain(shop)
            shop.advance(timedelta(minutes=31))
        customer.pays(pages[1])
        for _ in range(2):
            shop.advance(timedelta(minutes=31))
            drain(shop)
        customer.http.close()
    shop.advance(timedelta(minutes=30))
    shop.refresh()
    found = [f"paid {times} times" for debt in (quick, slow) if (times := taken(shop, debt)) != 1]
    found += [shop.case(debt)["state"] for debt in (quick, slow) if shop.case(debt)["state"] != "recovered"]
    return found + [result.name for result in shop.app.check() if result.rows]


def never_expired(swap: Swap) -> None:
    """The page is taken for closed without having been seen closed, and what could be paid on it for cancelled."""
    seen = vars(checkout_end)["Seen"]
    if hasattr(_Follow, "_expire"):
        swap(_Follow, "_expire", lambda self, found: seen("expired", found.body))
    else:
        swap(checkout_end, "expired", lambda _gateway, _row, name: seen("expired", {"id": name}))
    swap(_Follow, "_cancelled", lambda self, intent: seen("canceled"))


def paid_page_not_seen(swap: Swap) -> None:
    """That a page was paid is not looked for, so the debt gets another intent."""
    swap(_Follow, "_paid", lambda self, shown: self._succeed_anyhow(shown))
    swap(
        _Follow,
        "_succeed_anyhow",
        lambda self, shown: self._succeed(
            checkout_end.Outcome("abandoned", "no_page", detail="overlooked"), str(shown.body["id"])
        ),
    )


def link_not_used(swap: Swap) -> None:
    """A link that was paid by goes on leading somewhere."""
    swap(links, "used", lambda connection, link_id, now: None)


MUTANTS = (never_expired, paid_page_not_seen, link_not_used)


def test_with_every_safeguard_in_its_place_nothing_is_found(shop: Shop) -> None:
    assert played(shop) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.__name__)
def test_each_safeguard_is_missed(
    shop: Shop, mutant: Callable[[Swap], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(lambda owner, name, new: monkeypatch.setattr(owner, name, new, raising=name != "_succeed_anyhow"))
    assert played(shop) != []
