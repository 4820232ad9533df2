"""Typed decoding of whole pages says of each object what parsing it alone says, or leaves it to that."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lake.rows import origin
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
    subscription,
)
from tinko_pipelines.lake.columns import as_columns, page_decoder
from tinko_pipelines.lake.parse import Malformed, parse
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT, OBJECTS

NOW = datetime.fromtimestamp(START, UTC)
ITEMS = (
    charge("ch_1", START),
    paid("ch_2", START + 5),
    intent("pi_1", START),
    invoice("in_1", START),
    invoice_payment("inpay_1", START, "in_1", "pi_1"),
    subscription("sub_1", START),
    customer("cus_1", START),
    method("pm_1", START),
    event("evt_1", START, "charge.failed", charge("ch_1", START)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "card", "0", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def held_together(items: list[dict[str, Any]]) -> bool:
    """Whether the quick way took the page; if so, it said what the other says."""
    name = BY_STRIPE_OBJECT[items[0]["object"]]
    body = json.dumps({"object": "list", "data": items, "has_more": True}, indent=2).encode()
    read = page_decoder(name)(body)
    assert read.has_more
    found = as_columns(name, [(read.data, origin(NOW))])
    if found is None:
        return False
    assert found.to_pylist() == [parse(OBJECTS[name], item, origin(NOW)) for item in items]
    return True


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["object"])
def test_objects_in_good_order_are_taken(item: dict[str, Any]) -> None:
    assert held_together([item, {**item, "id": "another"}])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ITEMS), st.data())
def test_no_content_of_a_field_makes_the_two_differ(item: dict[str, Any], data: st.DataObject) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(sorted(item)), VALUES, max_size=3))
    odd = {**item, **fields}
    taken = held_together([{**odd, "object": item["object"]}])
    parsed = parse(OBJECTS[BY_STRIPE_OBJECT[item["object"]]], odd, origin(NOW))
    assert not (taken and isinstance(parsed, Malformed) and odd["object"] == item["object"])


def test_a_field_nobody_knows_is_left_to_parsing_and_kept() -> None:
    odd = charge("ch_1", START, novelty={"b": 1, "a": [2]})
    assert not held_together([odd])
    row = parse(OBJECTS["charges"], odd, origin(NOW))
    assert not isinstance(row, Malformed)
    assert row["extra"] == '{"novelty":{"a":[2],"b":1}}'


def test_an_expanded_object_stands_for_its_id() -> None:
    assert held_together([charge("ch_1", START, customer={"id": "cus_9", "object": "customer"})])
