"""An invoice paid at once does not say by which charge; the lake does, and no request is made for it."""

from datetime import timedelta

from tests.retry.shop import Shop, passing_later
from tinko_pipelines.ledger.schema import network_attempt
from tinko_pipelines.retry.naming import name_charges


def test_a_success_is_named_once_the_lake_has_its_charge(shared_shop: Shop) -> None:
    shop = shared_shop
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop), email="named@example.com")
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)
    watched = shop.watch()
    shop.app.drain(owner="test")
    (row,) = shop.attempts(debt)
    assert (row["state"], row["charge_id"]) == ("succeeded", None)
    asked = len(watched.asked)
    shop.app.plan()
    assert shop.attempts(debt)[0]["charge_id"] is None
    shop.advance(timedelta(minutes=1))
    shop.refresh()
    (row,) = shop.attempts(debt)
    charge = shop.stripe.charges_of(debt)[-1]
    assert (row["charge_id"], charge["status"]) == (charge["id"], "succeeded")
    assert len(watched.asked) == asked
    seen = {one["charge_id"]: one["ours"] for one in shop.rows(network_attempt)}
    assert seen[charge["id"]]
    assert f"attempt:{row['id']}" not in seen
    assert {result.name: result.sample for result in shop.app.check() if result.rows} == {}


def test_a_charge_of_another_moment_is_not_taken_for_ours(shared_shop: Shop) -> None:
    shop = shared_shop
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop), email="other@example.com")
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)
    shop.app.drain(owner="test")
    shop.app.ingest_changes()
    charges, payments = shop.app.lake.table("charges"), shop.app.lake.table("invoice_payments")
    own = [charge["id"] for charge in shop.stripe.charges_of(debt)]
    earlier = charges.to_pylist()
    for one in earlier:
        if one["id"] == own[-1]:
            one["created_at"] -= timedelta(minutes=1)
    ledger = shop.app.ledger
    assert name_charges(ledger, type(charges).from_pylist(earlier, schema=charges.schema), payments) == 0
    twice = [one for one in charges.to_pylist() if one["id"] == own[-1]] * 2
    assert name_charges(ledger, type(charges).from_pylist(twice, schema=charges.schema), payments) == 0
    assert shop.attempts(debt)[0]["charge_id"] is None
    assert name_charges(ledger, charges, payments) == 1
    assert shop.attempts(debt)[0]["charge_id"] == own[-1]
