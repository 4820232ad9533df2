"""What may be kept of an erased person's objects: the rule for JSON, and the same rule for rows."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tests.lake.stripe_objects import (
    START,
    charge,
    customer,
    event,
    intent,
    invoice,
    invoice_payment,
    method,
    paid,
)
from tests.lake.stripe_objects import subscription as subscribed
from tinko_pipelines.lake.columns import as_columns, page_decoder
from tinko_pipelines.lake.erased import Erased, hashed
from tinko_pipelines.lake.parse import Malformed, Origin, parse
from tinko_pipelines.lake.schemas import OBJECTS

ORIGIN = Origin("default", False, datetime(2026, 9, 1, tzinfo=UTC), "v")
IDS = {"cus_1", "pm_1", "fp_1", "ch_1", "pi_1", "in_1", "sub_1", "evt_1"}
TOLD = {"description": "Ada's order", "metadata": {"name": "Ada"}, "receipt_email": "ada@example.com"}
HIS: list[tuple[str, dict[str, Any]]] = [
    ("charges", charge("ch_1", START, **TOLD)),
    ("charges", charge("ch_2", START, customer={"id": "cus_1", "object": "customer", "name": "Ada"}, **TOLD)),
    ("charges", charge("ch_1", START, failure_message="No such payment method: 'pm_1'")),
    ("charges", charge("ch_1", START, failure_message="Ada <ada@example.com> was refused")),
    ("charges", charge("ch_1", START, failure_message="Do not honour")),
    ("charges", charge("ch_9", START, customer=None, payment_intent={"id": "pi_1", "description": "Ada"})),
    ("payment_intents", intent("pi_1", START, latest_charge={"id": "ch_1", "receipt_email": "ada@example.com"})),
    ("invoices", invoice("in_1", START, customer_name="Ada", account_country="US")),
    ("invoice_payments", invoice_payment("inpay_1", START, "in_1", "pi_1")),
    ("subscriptions", subscribed("sub_1", START, description="Ada")),
    ("events", event("evt_1", START, "charge.failed", charge("ch_1", START, **TOLD))),
    ("events", event("evt_2", START, "customer.updated", customer("cus_1", START, description="Ada"))),
    ("events", event("evt_3", START, "setup_intent.created", {"id": "seti_1", "object": "setup_intent", "customer": "cus_1"})),
    ("balance_transactions", {"id": "txn_1", "object": "balance_transaction", "created": START, "amount": 1, "currency": "usd",
                              "description": "Ada", "source": "ch_1"}),
    ("refunds", {"id": "re_1", "object": "refund", "created": START, "amount": 1, "currency": "usd", "charge": "ch_1",
                 "destination_details": {"card": {"reference": "Ada"}}}),
]  # fmt: skip
OTHERS = [
    ("charges", charge("ch_3", START, customer="cus_2", payment_intent="pi_3", payment_method="pm_2")),
    ("customers", customer("cus_2", START, invoice_settings={"default_payment_method": "pm_2"})),
    ("events", event("evt_4", START, "customer.updated", customer("cus_2", START))),
]


def erased(learned: set[str] | None = None) -> Erased:
    found: set[str] = set() if learned is None else learned
    return Erased(map(hashed, IDS), found.update)


def listed(*items: dict[str, Any]) -> bytes:
    # Neither spaced nor ordered as ours would be, so that bytes which are not touched can be told.
    return (
        b'{"object": "list", "data": ['
        + b" , ".join(orjson.dumps(one) for one in items)
        + b'], "has_more": true}'
    )


@pytest.mark.parametrize(("name", "item"), HIS)
def test_pages_and_rows_lose_the_same(name: str, item: dict[str, Any]) -> None:
    rule, spec = erased(), OBJECTS[name]
    body = rule.page(name, listed(item), single=False)
    row = parse(spec, item, ORIGIN)
    assert not isinstance(row, Malformed)
    (left,) = orjson.loads(body)["data"]
    reduced = parse(spec, left, ORIGIN)
    assert reduced == rule.row(name, row), "the reduced object makes the reduced row"
    assert not [one for one in (b"Ada", b"cus_1", b"pm_1", b"fp_1", b"ada@", b"seti_1") if one in body]
    batch = as_columns(name, [(page_decoder(name)(body).data, ORIGIN)])
    assert batch is not None, "read by the quick way still"
    assert batch.to_pylist() == [reduced]
    assert rule.page(name, body, single=False) == body, "what was reduced once stays as it is"


def test_money_stays_as_it_was() -> None:
    rule, item = erased(), paid("ch_1", START, amount_refunded=300, balance_transaction="txn_7")
    before, after = (
        parse(OBJECTS["charges"], item, ORIGIN),
        parse(OBJECTS["charges"], rule.object("charges", item), ORIGIN),
    )
    assert not isinstance(before, Malformed)
    assert not isinstance(after, Malformed)
    gone = {key for key in before if before[key] != after[key]}
    assert gone == {"customer_id", "payment_method_id", "card_fingerprint", "card_exp_month", "card_exp_year"}
    assert after["customer_id"] == "erased"


@pytest.mark.parametrize(("name", "other"), OTHERS)
def test_others_stay_byte_for_byte(name: str, other: dict[str, Any]) -> None:
    untouched = listed(other)
    assert erased().page(name, untouched, single=False) is untouched
    his = next(item for kind, item in [*HIS, ("customers", customer("cus_1", START))] if kind == name)
    body = erased().page(name, listed(his, other), single=False)
    assert orjson.dumps(other) in body


@pytest.mark.parametrize(
    ("name", "item"),
    [("customers", customer("cus_1", START)), ("payment_methods", method("pm_8", START, customer="cus_1"))],
)
def test_nothing_is_left_of_the_person_himself(name: str, item: dict[str, Any]) -> None:
    assert orjson.loads(erased().page(name, listed(item), single=False))["data"] == []
    assert erased().page(name, orjson.dumps(item), single=True) == b""


def test_what_comes_later_is_known_before_it_is_kept() -> None:
    learned: set[str] = set()
    rule = erased(learned)
    rule.page("charges", listed(charge("ch_new", START, payment_method="pm_new")), single=False)
    assert learned == {"ch_new", "pm_new"}
    refund = {"id": "re_new", "object": "refund", "created": START, "amount": 5, "currency": "usd", "charge": "ch_new", "metadata": {"who": "Ada"}}  # fmt: skip
    assert b"Ada" not in rule.page("refunds", listed(refund), single=False)


def test_what_is_malformed_keeps_no_more_than_what_is_not() -> None:
    odd = charge("ch_1", START, amount={"name": "Ada"}, currency="much ado", **TOLD)
    body = erased().page("charges", listed(odd), single=False)
    assert b"Ada" not in body
    assert isinstance(parse(OBJECTS["charges"], orjson.loads(body)["data"][0], ORIGIN), Malformed)


def test_an_id_of_the_merchants_own_making_is_an_id() -> None:
    rule = Erased(map(hashed, {"kunde-42"}))
    body = listed(charge("ch_5", START, customer="kunde-42"), charge("ch_6", START, customer="kunde-43"))
    first, second = orjson.loads(rule.page("charges", body, single=False))["data"]
    assert (first["customer"], second["customer"]) == ("erased", "kunde-43")
