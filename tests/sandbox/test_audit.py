"""The audit counts from the book itself, so it must see what no safeguard would let through."""


def counts(control):
    book = control.book()
    return book["double_charges"], book["charged_after_paid"], book["orders_paid_twice"]


def test_a_debt_charged_twice_is_seen_until_it_is_refunded(api, control):
    assert counts(control) == (0, 0, 0)
    made = control.fixture("failed_invoice", code=None, email="twice@example.com")
    extra = control.fixture("bypass_charge", debt=made["invoice"])["charge"]
    assert counts(control) == (1, 1, 0)
    assert control.book()["double_charged"] == [made["invoice"]]
    assert [one["status"] for one in control.charges_of(made["invoice"])] == ["succeeded", "succeeded"]
    api.v1.refunds.create({"charge": extra})
    assert counts(control) == (0, 1, 0)


def test_intents_of_one_case_are_one_debt(api, control):
    legacy = control.fixture("legacy_charge", email="legacy@example.com")
    assert control.charges_of(legacy["charge"])[0]["payment_intent"] is None
    before = counts(control)
    for _ in range(2):
        made = control.fixture("failed_intent", code=None, email="case@example.com", order_id="")
        api.v1.payment_intents.update(made["payment_intent"], {"metadata": {"tinko_case": "case-1"}})
    assert counts(control) == (before[0] + 1, before[1] + 1, before[2])
    assert "case-1" in control.book()["double_charged"]


def test_an_order_paid_by_two_intents_is_counted_apart(api, control):
    before = counts(control)
    customer = api.v1.customers.create({"payment_method": "pm_card_visa"})
    method = api.v1.payment_methods.list({"customer": customer.id}).data[0].id
    for _ in range(2):
        api.v1.payment_intents.create(
            {
                "amount": 900,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": method,
                "confirm": True,
                "off_session": True,
                "metadata": {"order_id": "o-1"},
            }
        )
    assert counts(control) == (before[0], before[1], before[2] + 1)


def test_the_world_charges_nobody_twice(control):
    book = control.book()
    assert book["debts"] > 150
    assert 0.05 < book["debts_failed_first"] / book["debts"] < 0.2
    assert book["debts_paid"] < book["debts"]


def test_odd_objects_are_served_as_they_are(api, control):
    charge = api.v1.charges.list({"limit": 1}).data[0].id
    control.fixture("amend", object="charges", id=charge, fields={"amount": "a lot"})
    assert api.v1.charges.retrieve(charge).amount == "a lot"
    control.fixture("amend", object="charges", id=charge, fields={"amount": 100})
    control.fixture(
        "raw", object="refunds", body={"id": "re_odd", "object": "teapot", "created": "yesterday"}
    )
    assert "re_odd" in {one.id for one in api.v1.refunds.list({"limit": 100}).auto_paging_iter()}
