"""A sandbox repeats itself, whatever the order of requests; and it survives being stopped or killed."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import stripe

from tests.sandbox.conftest import sdk
from tinko_pipelines.errors import GatewayError, TinkoError
from tinko_pipelines.sandbox.client import SandboxClient, SandboxClock
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import SANDBOX_KEY

SIZE = {"seed": 11, "charges": 300, "history_days": 30}


def retry_all(base: str, order: random.Random, threads: int) -> int:
    """Confirm or pay every open debt once, concurrently, in an order of its own, and write to each customer."""
    api, client = sdk(base), SandboxClient(base)
    owed = [
        ("invoices", one) for one in api.v1.invoices.list({"status": "open", "limit": 100}).auto_paging_iter()
    ]
    owed += [
        ("payment_intents", intent)
        for intent in api.v1.payment_intents.list({"limit": 100}).auto_paging_iter()
        if intent.status == "requires_payment_method"
        and intent.setup_future_usage
        and "order_id" in intent.metadata
    ]
    order.shuffle(owed)
    headers = {"authorization": f"Bearer {SANDBOX_KEY}"}

    def retry(debt) -> int:
        room, item = debt
        verb = "pay" if room == "invoices" else "confirm"
        data = {"off_session": "true"}
        if room == "payment_intents":
            data["payment_method"] = item.last_payment_error.payment_method.id
        key = {**headers, "idempotency-key": f"{item.id}:1"}
        with httpx.Client(base_url=base, headers=key, timeout=30) as http:
            status = http.post(f"/v1/{room}/{item.id}/{verb}", data=data).status_code
        client.mail(item.customer, f"mail:{item.id}", item.id)
        return status

    with ThreadPoolExecutor(threads) as pool:
        statuses = list(pool.map(retry, owed))
    assert set(statuses) <= {200, 402, 400}
    client.advance_to(client.now() + timedelta(days=9))
    return len(owed)


def test_the_order_of_concurrent_requests_does_not_matter(tmp_path):
    books = []
    for number, threads in enumerate((1, 8)):
        with SandboxProcess(tmp_path / str(number), **SIZE) as process:
            assert retry_all(process.base, random.Random(number), threads) > 8
            books.append(SandboxClient(process.base).book())
    assert books[0] == books[1]
    assert books[0]["mails"] > 8
    assert books[0]["double_charges"] == 0


def test_another_seed_is_another_world(tmp_path):
    digests = set()
    for seed in (1, 2):
        with SandboxProcess(tmp_path / str(seed), seed=seed, charges=60, history_days=20) as process:
            digests.add(SandboxClient(process.base).book()["digest"])
    assert len(digests) == 2


def test_a_killed_sandbox_wakes_up_where_it_was(tmp_path):
    process = SandboxProcess(tmp_path, **SIZE)
    base = process.start()
    client, api = SandboxClient(base), sdk(base)
    made = client.fixture("failed_invoice", stripe_retries=True, email="sleeper@example.com")
    client.advance_to(client.now() + timedelta(days=1))
    with pytest.raises(stripe.CardError):
        api.v1.invoices.pay(made["invoice"], {}, {"idempotency_key": "before"})
    book = client.book()
    process.kill()
    assert process.pid is None
    with SandboxProcess(tmp_path, seed=99, charges=5, history_days=1) as again:
        client, api = SandboxClient(again.base), sdk(again.base)
        assert client.book() == book
        with pytest.raises(stripe.CardError) as caught:
            api.v1.invoices.pay(made["invoice"], {}, {"idempotency_key": "before"})
        assert {name.lower() for name in caught.value.headers} >= {"idempotent-replayed"}
        assert len(client.charges_of(made["invoice"])) == 2
        client.advance_to(client.now() + timedelta(days=7))
        assert len(client.charges_of(made["invoice"])) == 5


def test_a_life_interrupted_is_the_same_life(tmp_path):
    with SandboxProcess(tmp_path / "whole", **SIZE) as process:
        client = SandboxClient(process.base)
        client.advance_to(client.now() + timedelta(days=8))
        whole = client.book()
    for _ in range(4):
        with SandboxProcess(tmp_path / "parted", **SIZE) as process:
            client = SandboxClient(process.base)
            client.advance_to(client.now() + timedelta(days=2))
            parted = client.book()
    assert parted == whole


def test_its_clock_is_its_own_and_never_goes_back(control, sandbox):
    clock = SandboxClock(sandbox.base)
    now = clock.now()
    assert now.utcoffset() == timedelta(0)
    assert control.advance_to(now + timedelta(minutes=5)) == clock.now() == now + timedelta(minutes=5)
    with pytest.raises(GatewayError, match="cannot go back"):
        control.advance_to(now)


def test_it_says_why_it_does_not_start(tmp_path, sandbox):
    port = int(sandbox.base.rpartition(":")[2])
    with pytest.raises(TinkoError, match=f"port {port}"):
        SandboxProcess(tmp_path, port=port).start()
    with (
        SandboxProcess(tmp_path, charges=0),
        pytest.raises(TinkoError, match="another sandbox is running"),
    ):
        SandboxProcess(tmp_path, charges=0).start()
    with pytest.raises(GatewayError, match="no sandbox answers"):
        SandboxClient("http://127.0.0.1:1").now()


def test_sigterm_ends_it_cleanly_and_so_does_the_end_of_its_parent(tmp_path):
    process = SandboxProcess(tmp_path, charges=0)
    process.start()
    running = process._process
    process.stop()
    assert running.returncode == 0
    command = [sys.executable, "-m", "tinko_pipelines.sandbox", "--dir", str(tmp_path), "--charges", "0"]
    done = subprocess.run([*command, "--until-eof"], input=b"", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout[:6]) == (0, b"ready ")
