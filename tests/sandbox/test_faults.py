"""Trouble on demand does what it says, and says truly whether anything was done."""

import socket
import time

import httpx
import pytest
import stripe

from tests.sandbox.conftest import sdk
from tinko_pipelines.errors import GatewayError
from tinko_pipelines.sandbox.http.journal import CALLER
from tinko_pipelines.settings import SANDBOX_KEY

CONFIRM = {"method": "POST", "path": "/v1/payment_intents/*/confirm"}


@pytest.fixture
def made(control, request):
    return control.fixture("failed_intent", email=f"{request.node.name}@example.com")


def confirm(api, made, key):
    params = {"payment_method": made["payment_method"], "off_session": True}
    return api.v1.payment_intents.confirm(made["payment_intent"], params, {"idempotency_key": key})


@pytest.mark.parametrize(("kind", "executed"), [("reset_before", 0), ("reset_after", 1)])
def test_broken_connections(sandbox, api, control, made, kind, executed):
    control.faults([{"kind": kind, "count": 1, **CONFIRM}])
    with pytest.raises(stripe.APIConnectionError):
        confirm(api, made, kind)
    assert len(control.charges_of(made["payment_intent"])) == 1 + executed
    with pytest.raises(stripe.CardError) as caught:
        confirm(sdk(sandbox.base), made, kind)
    replayed = {name.lower() for name in caught.value.headers}
    assert ("idempotent-replayed" in replayed) == bool(executed)
    assert len(control.charges_of(made["payment_intent"])) == 2


@pytest.mark.parametrize("kind", ["malformed", "truncated", "html", "bad_gateway"])
def test_answers_spoilt_on_the_way_say_nothing_of_what_was_done(sandbox, api, control, made, kind):
    control.faults([{"kind": kind, "count": 1, **CONFIRM}])
    with pytest.raises(stripe.StripeError) as caught:
        confirm(api, made, kind)
    assert not isinstance(caught.value, stripe.CardError)
    assert len(control.charges_of(made["payment_intent"])) == 2
    with pytest.raises(stripe.CardError):
        confirm(sdk(sandbox.base), made, kind)
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_a_lock_refuses_and_does_nothing(api, control, made):
    control.faults([{"kind": "conflict", "count": 1, **CONFIRM}])
    with pytest.raises(stripe.StripeError) as caught:
        confirm(api, made, "locked")
    assert caught.value.http_status == 409
    assert len(control.charges_of(made["payment_intent"])) == 1
    with pytest.raises(stripe.CardError):
        confirm(api, made, "locked")
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_a_lost_answer_is_a_time_out(sandbox, control, made):
    control.faults([{"kind": "hang", "seconds": 2, "count": 1, **CONFIRM}])
    impatient = sdk(sandbox.base, timeout=0.4)
    with pytest.raises(stripe.APIConnectionError):
        confirm(impatient, made, "lost")
    assert len(control.charges_of(made["payment_intent"])) == 2
    with pytest.raises(stripe.CardError):
        confirm(impatient, made, "lost")
    assert len(control.charges_of(made["payment_intent"])) == 2


@pytest.mark.parametrize(("kind", "executed"), [("error_before", 0), ("error_after", 1)])
def test_server_errors_after_the_work_are_kept_those_before_are_not(api, control, made, kind, executed):
    control.faults([{"kind": kind, "count": 1, **CONFIRM}])
    with pytest.raises(stripe.APIError) as caught:
        confirm(api, made, kind)
    assert caught.value.http_status == 500
    assert len(control.charges_of(made["payment_intent"])) == 1 + executed
    again = stripe.APIError if executed else stripe.CardError
    with pytest.raises(again):
        confirm(api, made, kind)
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_rate_limits_by_order_and_by_rate(api, control):
    control.faults(
        [{"kind": "rate_limit", "method": "GET", "skip": 1, "count": 1, "reason": "endpoint-rate"}]
    )
    assert api.v1.charges.list({"limit": 1}).data
    with pytest.raises(stripe.RateLimitError) as caught:
        api.v1.charges.list({"limit": 1})
    headers = {name.lower(): value for name, value in caught.value.headers.items()}
    assert (headers["retry-after"], headers["stripe-rate-limited-reason"]) == ("1", "endpoint-rate")
    control.limit(5)
    limited = 0
    for _ in range(60):
        try:
            api.v1.charges.list({"limit": 1})
        except stripe.RateLimitError:
            limited += 1
    assert 0 < limited <= 55, "five pass at once, and five a second after that"
    assert control.requests() == {"requests": 60, "refused": limited}
    control.limit(None)
    assert all(api.v1.charges.list({"limit": 1}).data for _ in range(30))


def test_latency_keeps_nobody_else_waiting(sandbox, control, made):
    control.faults([{"kind": "latency", "seconds": 2.0, "path": "/v1/charges"}])
    began = time.monotonic()
    with httpx.Client(base_url=sandbox.base, headers={"authorization": f"Bearer {SANDBOX_KEY}"}) as client:
        client.get("/v1/invoices?limit=1")
        assert time.monotonic() - began < 1.9
        assert client.get("/v1/charges?limit=1").status_code == 200
    assert time.monotonic() - began >= 2.0


def test_a_share_is_decided_by_the_key(api, control, made):
    control.faults([{"kind": "error_before", "share": 0.5, **CONFIRM}])

    def struck(key):
        try:
            confirm(api, made, key)
        except stripe.APIError as error:
            return not isinstance(error, stripe.CardError)
        except stripe.CardError:
            return False

    once = [struck(f"share-{number}") for number in range(12)]
    assert [struck(f"share-{number}") for number in range(12)] == once
    assert 1 < sum(once) < 11


@pytest.mark.parametrize(
    "fault", [{"kind": "meteor"}, {"kind": "hang", "colour": 1}, {"kind": "hang", "seconds": "x"}]
)
def test_unknown_trouble_is_refused(control, fault):
    with pytest.raises(GatewayError, match="refuses faults"):
        control.faults([fault])


def test_half_a_request_does_nothing(sandbox, control):
    made = control.fixture("failed_intent", code=None, email="half@example.com")
    before = len(control.charges_of(made["payment_intent"]))
    host, port = sandbox.base.removeprefix("http://").split(":")
    head = (
        f"POST /v1/payment_intents/{made['payment_intent']}/confirm HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {SANDBOX_KEY}\r\nContent-Length: 100\r\n\r\n"
    )
    begun = len(control.journal())
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.replace("Host:", f"{CALLER}: half\r\nHost:").encode())
    control.fixture("failed_intent", email="after-half@example.com")
    assert [one for one in control.journal()[begun:] if one["caller"] == "half"] == []
    assert len(control.charges_of(made["payment_intent"])) == before
