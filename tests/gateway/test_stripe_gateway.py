"""The SDK as we use it, over a real socket."""

from tests.fake_stripe import FakeStripe, over_http
from tinko_pipelines.gateway.stripe_gateway import StripeGateway


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
