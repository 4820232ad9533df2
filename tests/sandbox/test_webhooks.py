"""Events reach the endpoints that want them, signed so that the SDK believes them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import stripe


class Inbox:
    """What an endpoint received; it answers with `statuses` in turn, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []
        self.url = ""

    def wait(self, count: int) -> list[tuple[bytes, str]]:
        deadline = time.monotonic() + 10
        while len(self.got) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.got) >= count, f"{len(self.got)} of {count} came"
        return self.got


@contextmanager
def listening() -> Iterator[Inbox]:
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            inbox.got.append((body, self.headers["stripe-signature"]))
            self.send_response(inbox.statuses.pop(0) if inbox.statuses else 200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    inbox.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_wanted_events_come_signed(api, control):
    with listening() as inbox:
        hook = api.v1.webhook_endpoints.create(
            {"url": inbox.url, "enabled_events": ["charge.failed", "invoice.payment_failed"]}
        )
        assert hook.secret.startswith("whsec_")
        assert "secret" not in api.v1.webhook_endpoints.retrieve(hook.id)
        made = control.fixture("failed_invoice", email="hooked@example.com")
        inbox.wait(2)
        events = [stripe.Webhook.construct_event(body, signed, hook.secret) for body, signed in inbox.got]
        assert sorted(event.type for event in events) == ["charge.failed", "invoice.payment_failed"]
        assert made["charge"] in {event.data.object["id"] for event in events}
        body, signed = inbox.got[0]
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body.replace(b"failed", b"passed"), signed, hook.secret)
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, signed, "whsec_other")
        api.v1.webhook_endpoints.delete(hook.id)
        control.fixture("failed_invoice", email="unhooked@example.com")
        assert hook.id not in {one.id for one in api.v1.webhook_endpoints.list().data}
        assert len(inbox.got) == 2


def test_a_failing_endpoint_is_told_again_but_not_for_ever(api, control):
    with listening() as inbox:
        inbox.statuses = [500, 500, 200, 500, 500, 500]
        hook = api.v1.webhook_endpoints.create({"url": inbox.url, "enabled_events": ["charge.succeeded"]})
        control.fixture("failed_intent", code=None, email="told@example.com")
        inbox.wait(3)
        assert len({body for body, _ in inbox.got}) == 1
        told = stripe.Webhook.construct_event(*inbox.got[2], hook.secret).id
        assert eventually(lambda: api.v1.events.retrieve(told).pending_webhooks == 0)
        control.fixture("failed_intent", code=None, email="untold@example.com")
        inbox.wait(6)
        time.sleep(0.3)
        assert len(inbox.got) == 6
        given_up = stripe.Webhook.construct_event(*inbox.got[5], hook.secret).id
        assert api.v1.events.retrieve(given_up).pending_webhooks == 1
        api.v1.webhook_endpoints.delete(hook.id)


def test_addresses_of_other_machines_are_refused(api):
    with pytest.raises(stripe.InvalidRequestError, match="this machine only"):
        api.v1.webhook_endpoints.create({"url": "https://example.com/x", "enabled_events": ["*"]})


def eventually(holds) -> bool:
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()
