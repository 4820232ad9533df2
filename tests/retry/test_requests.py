"""How often Stripe is asked for one retry, and that a busy customer hides nothing of the debt itself."""

from typing import Any

import pytest

from tests.retry.shop import Shop, passing_later

MOST_REQUESTS = 5


def busy(shop: Shop, made: dict[str, Any], how_many: int = 101) -> None:
    """Let the customer be charged often and successfully for other things, since the failure."""
    failed = shop.app.account().gateway.get(f"/v1/charges/{made['charge']}").body or {}
    for number in range(how_many):
        other = {**failed, "id": f"ch_other{number}", "payment_intent": f"pi_other{number}", "amount": 100}
        paid = {"status": "succeeded", "paid": True, "created": shop.at(0), "failure_code": None}
        shop.stripe.fixture("raw", object="charges", body={**other, **paid})


@pytest.mark.parametrize(
    ("kind", "other_default", "charges", "wanted"),
    [
        ("invoice", False, 0, 3),
        ("invoice", True, 0, 4),
        ("invoice", True, 101, 5),
        ("payment_intent", False, 0, 4),
        ("payment_intent", True, 0, 5),
    ],
)
def test_a_retry_takes_few_requests(
    shared_shop: Shop, kind: str, other_default: bool, charges: int, wanted: int
) -> None:
    shop = shared_shop
    fixture = {"invoice": "failed_invoice", "payment_intent": "failed_intent"}[kind]
    email = f"{kind}{other_default}{charges}@example.com"
    made = shop.stripe.fixture(fixture, codes=passing_later(shop), email=email)
    shop.refresh()
    if other_default:
        shop.stripe.act("attach_card", made["customer"], card="fresh")
    if charges:
        busy(shop, made, charges)
    shop.until_due(made[kind])
    watched = shop.watch()
    shop.app.drain(owner="test")
    assert shop.case(made[kind])["state"] == "recovered"
    assert len(watched.asked) == wanted <= MOST_REQUESTS, watched.asked


def test_a_disputed_charge_is_seen_behind_a_hundred_newer_ones(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))
    shop.refresh()
    shop.until_due(made["invoice"])
    busy(shop, made)
    shop.stripe.fixture("amend", object="charges", id=made["charge"], fields={"disputed": True})
    watched = shop.watch()
    shop.app.drain(owner="test")
    case = shop.case(made["invoice"])
    assert (watched.charging(), case["state"]) == ([], "cancelled")
    assert case["state_reason"] == f"charge {made['charge']} is disputed"


def test_where_more_was_charged_than_can_be_read_a_person_decides(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_intent", codes=passing_later(shop))
    shop.refresh()
    shop.until_due(made["payment_intent"])
    busy(shop, made)
    watched = shop.watch()
    shop.app.drain(owner="test")
    case = shop.case(made["payment_intent"])
    assert (watched.charging(), case["state"]) == ([], "needs_human")
    assert "cannot be told" in case["state_reason"]
