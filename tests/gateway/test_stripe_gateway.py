"""The SDK as we use it, over a real socket."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.fake_stripe import FakeStripe, over_http
from tinko_pipelines.gateway.stripe_gateway import MOST_BACK_OFF_SECONDS, StripeGateway


def test_reads_declines_and_faults_come_back_as_answers() -> None:
    fake = FakeStripe()
    fake.add("pi_1", passes=False)
    with over_http(fake) as base:
        gateway = StripeGateway("sk_test_tinko_sandbox", base, "default", timeout_seconds=5)
        assert gateway.get("/v1/payment_intents/pi_1").ok
        assert gateway.get("/v1/payment_intents/none").http_status == 404
        path = "/v1/payment_intents/pi_1/confirm"
        first = gateway.post(path, {"off_session": True}, "k1", gateway.api_version)
        assert (first.http_status, first.decline_code) == (402, "insufficient_funds")
        assert first.error_type == "card_error"
        assert gateway.post(path, {"off_session": True}, "k1", gateway.api_version).body == first.body
        assert len(fake.charges) == 1
    nobody = StripeGateway("sk_test_tinko_sandbox", "http://127.0.0.1:1", "default", timeout_seconds=5)
    gone = nobody.get("/v1/payment_intents/pi_1")
    assert gone.http_status is None
    assert gone.transport_error


@pytest.mark.parametrize(
    ("named", "seconds"),
    [
        ("7", 7.0),
        ("inf", MOST_BACK_OFF_SECONDS),
        ("1e300", MOST_BACK_OFF_SECONDS),
        ("-5", 0.0),
        ("soon", None),
    ],
)
def test_no_answer_holds_requests_up_for_ever(named: str, seconds: float | None) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": {"type": "invalid_request_error", "message": "too many"}}'
            self.send_response(429)
            self.send_header("Retry-After", named)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    gateway = StripeGateway(
        "sk_test_x", f"http://127.0.0.1:{server.server_port}", "default", timeout_seconds=5
    )
    answer = gateway.get("/v1/payment_intents/pi_1")
    server.shutdown()
    server.server_close()
    thread.join()
    assert (answer.http_status, answer.retry_after_seconds) == (429, seconds)
