"""What the product itself reads from and writes to Stripe works on the sandbox, through its own adapters."""

from datetime import UTC, datetime

import pytest

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.bulk import API_VERSION, BulkReader
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.lake.columns import as_columns, page_decoder
from tinko_pipelines.lake.parse import Malformed, Origin, parse
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.retry.answers import interpret
from tinko_pipelines.retry.preflight import preflight
from tinko_pipelines.settings import SANDBOX_KEY


@pytest.fixture
def reader(sandbox):
    made = BulkReader(SANDBOX_KEY, sandbox.base, "default")
    yield made
    made.close()


@pytest.fixture
def gateway(sandbox):
    made = StripeGateway(SANDBOX_KEY, sandbox.base, "default", timeout_seconds=10)
    yield made
    made._client._requestor._get_http_client().close()


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_of_the_lake_is_read_whole_and_parsed(reader, control, name):
    audit = control.book()["objects"]
    pages = list(reader.pages(name))
    items = [item for page in pages for item in page.data]
    assert len(items) == audit[name]
    origin = Origin("default", False, datetime.now(UTC), API_VERSION)
    rows = [parse(OBJECTS[name], item, origin) for item in items]
    assert [row.reason for row in rows if isinstance(row, Malformed)] == []
    assert {row["extra"] for row in rows} <= {None}
    typed = as_columns(name, [(page_decoder(name)(page.body).data, origin) for page in pages])
    assert typed is not None
    assert typed.to_pylist() == rows


def test_a_strange_key_is_named(sandbox):
    stranger = BulkReader("sk_test_stranger_0000", sandbox.base, "default")
    with pytest.raises(GatewayError, match="key is refused"):
        next(stranger.pages("charges"))
    stranger.close()


def test_preflight_and_pay(gateway, control):
    made = control.fixture("failed_invoice", email="gate@example.com", amount_minor=1900)
    case = {
        "debt_kind": "invoice",
        "live_object_id": made["invoice"],
        "payment_intent_id": None,
        "amount_minor": 1900,
        "currency": "usd",
        "livemode": False,
        "first_charge_id": made["charge"],
        "payment_method_id": made["payment_method"],
        "subscription_id": made["subscription"],
        "customer_id": made["customer"],
    }
    assert preflight(gateway, case).go
    path = f"/v1/invoices/{made['invoice']}/pay"
    declined = interpret(gateway.post(path, {"off_session": True}, "gate-1", gateway.api_version))
    assert (declined.state, declined.decline_code) == ("declined", "insufficient_funds")
    assert declined.charge_id == control.charges_of(made["invoice"])[-1]["id"]
    control.act("attach_card", made["customer"])
    paid = interpret(gateway.post(path, {"off_session": True}, "gate-2", gateway.api_version))
    assert paid.state == "succeeded"
    assert preflight(gateway, case).close_as == "paid_elsewhere"


def test_tag_and_confirm(gateway, control):
    made = control.fixture(
        "failed_intent", code="do_not_honor", email="tag@example.com", codes=[[0, "do_not_honor"]]
    )
    path = f"/v1/payment_intents/{made['payment_intent']}"
    tag = {"metadata": {"tinko_attempt": "att_1", "tinko_case": "case_1"}}
    assert gateway.post(path, tag, "tag-1", gateway.api_version).ok
    params = {"payment_method": made["payment_method"], "off_session": True, "error_on_requires_action": True}
    declined = interpret(gateway.post(f"{path}/confirm", params, "tag-2", gateway.api_version))
    assert declined.state == "declined"
    charge = control.charges_of(made["payment_intent"])[-1]
    assert charge["metadata"]["tinko_attempt"] == "att_1"
    assert charge["metadata"]["order_id"] == "order-fixture"
