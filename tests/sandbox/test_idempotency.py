"""Keys as documented: one request, one effect, one answer, for a day of the sandbox's time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import stripe

from tinko_pipelines.settings import SANDBOX_KEY


@pytest.fixture
def http(sandbox):
    headers = {"authorization": f"Bearer {SANDBOX_KEY}"}
    with httpx.Client(base_url=sandbox.base, headers=headers, timeout=20) as client:
        yield client


def confirm(http, made, key, **more):
    data = {"payment_method": made["payment_method"], "off_session": "true", **more}
    path = f"/v1/payment_intents/{made['payment_intent']}/confirm"
    return http.post(path, data=data, headers={"idempotency-key": key})


def test_a_decline_is_replayed_and_charges_nothing(http, control):
    made = control.fixture("failed_intent", email="replay@example.com")
    first, second = (confirm(http, made, "replay-1") for _ in range(2))
    assert (first.status_code, second.status_code) == (402, 402)
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["original-request"] == first.headers["request-id"] != second.headers["request-id"]
    assert second.headers["idempotency-key"] == "replay-1"
    assert len(control.charges_of(made["payment_intent"])) == 2
    assert confirm(http, made, "replay-2").status_code == 402
    assert len(control.charges_of(made["payment_intent"])) == 3


def test_a_success_is_replayed_even_after_things_have_changed(api, control):
    customer = api.v1.customers.create({"name": "A"}, {"idempotency_key": "cus-1"})
    api.v1.customers.update(customer.id, {"name": "B"})
    again = api.v1.customers.create({"name": "A"}, {"idempotency_key": "cus-1"})
    assert (again.id, again.name) == (customer.id, "A")
    assert api.v1.customers.create({"name": "A"}, {"idempotency_key": "cus-2"}).id != customer.id


def test_other_parameters_or_another_path_are_refused(http, api, control):
    made = control.fixture("failed_intent", email="differs@example.com")
    confirm(http, made, "differs")
    other = confirm(http, made, "differs", receipt_email="x@example.com")
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    with pytest.raises(stripe.IdempotencyError):
        api.v1.customers.create({}, {"idempotency_key": "differs"})
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_refusals_that_did_nothing_are_not_kept(http, control):
    made = control.fixture("failed_intent", email="unkept@example.com")
    assert confirm(http, {**made, "payment_method": "pm_none"}, "unkept").status_code == 400
    assert confirm(http, made, "unkept").status_code == 402
    path = f"/v1/payment_intents/{made['payment_intent']}"
    headers = {"idempotency-key": "unkept-2"}
    stranger = {**headers, "authorization": "Bearer sk_test_stranger_000"}
    assert http.post(path, data={"metadata[a]": "b"}, headers=stranger).status_code == 401
    control.faults([{"kind": "rate_limit", "method": "POST", "path": "/v1/*", "count": 1}])
    assert http.post(path, data={"metadata[a]": "b"}, headers=headers).status_code == 429
    assert http.post(path, data={"metadata[a]": "b"}, headers=headers).status_code == 200


def test_a_wrong_state_is_kept(http, control):
    made = control.fixture("failed_intent", code=None, email="state@example.com")
    first, second = (confirm(http, made, "state") for _ in range(2))
    assert first.json()["error"]["code"] == "payment_intent_unexpected_state"
    assert second.headers["idempotent-replayed"] == "true"


def test_keys_are_forgotten_after_a_day(http, control):
    made = control.fixture("failed_intent", email="forgets@example.com")
    confirm(http, made, "old")
    control.advance_to(control.now() + timedelta(hours=24))
    assert confirm(http, made, "old").headers["idempotent-replayed"] == "true"
    control.advance_to(control.now() + timedelta(seconds=1))
    assert "idempotent-replayed" not in confirm(http, made, "old").headers
    assert len(control.charges_of(made["payment_intent"])) == 3


def test_a_key_under_way_conflicts(http, control):
    made = control.fixture("failed_intent", email="busy@example.com")
    control.faults([{"kind": "latency", "path": "*/confirm", "seconds": 0.6, "count": 1}])
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(confirm, http, made, "busy")
        while control.book() and not http.get("/_sandbox/faults").json()["faults"][0]["met"]:
            pass
        quick = confirm(http, made, "busy")
        assert (quick.status_code, quick.json()["error"]["code"]) == (409, "idempotency_key_in_use")
        assert slow.result().status_code == 402
    assert confirm(http, made, "busy").headers["idempotent-replayed"] == "true"
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_the_same_key_sent_many_times_at_once_charges_once(http, control):
    made = control.fixture("failed_intent", email="burst@example.com")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: confirm(http, made, "burst").status_code, range(24)))
    assert set(answers) == {402}
    assert len(control.charges_of(made["payment_intent"])) == 2


def test_longest_key(http, control):
    made = control.fixture("failed_intent", email="long@example.com")
    assert confirm(http, made, "k" * 256).status_code == 400
    assert confirm(http, made, "k" * 255).status_code == 402
