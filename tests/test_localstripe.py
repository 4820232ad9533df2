"""Ingest, classify and report against a Stripe server that others keep, so that ours is not the only one we know."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tinko_pipelines.app import App
from tinko_pipelines.clock import SystemClock
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.settings import load_settings

SERVE = """
import sys
from aiohttp import web
from localstripe.resources import Store
Store.dump_to_disk = lambda self: None
from localstripe.server import app
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""
START_SECONDS_MAX = 30


@pytest.fixture
def localstripe(tmp_path: Path) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], cwd=tmp_path)
    base = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=base, auth=("sk_test_elsewhere", "")) as client:
            for _ in range(START_SECONDS_MAX * 10):
                try:
                    client.get("/v1/charges")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(10)


def pay(client: httpx.Client, number: str, amount: int) -> None:
    customer = client.post("/v1/customers", data={"email": "someone@example.com"}).json()["id"]
    card = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2030", "card[cvc]": "123"}
    method = client.post("/v1/payment_methods", data={"type": "card", **card}).json()["id"]
    client.post(f"/v1/payment_methods/{method}/attach", data={"customer": customer})
    order = {"amount": str(amount), "currency": "usd", "customer": customer, "payment_method": method}
    client.post("/v1/payment_intents", data={**order, "confirm": "true"})


def test_ingest_classify_and_report(localstripe: httpx.Client, tmp_path: Path) -> None:
    for amount in (1900, 2900):
        pay(localstripe, "4000000000000341", amount)
    pay(localstripe, "4242424242424242", 700)
    app = App(
        load_settings(
            state=tmp_path / "state",
            stripe_api_base=str(localstripe.base_url).rstrip("/"),
            stripe_secret_key="sk_test_elsewhere",
        )
    )
    with app.account().reader() as reader:
        # It answers a bound on `created` with 500, so everything is read.
        results = ingest(reader, app.lake, now=SystemClock().now())
    assert (results["charges"].new, results["charges"].quarantined) == (3, 0)
    assert results["payment_methods"].new == 2, "methods of failed charges are looked up by id"
    assert "has no /v1/disputes" in results["disputes"].notices[0]
    assert app.plan().created == 2
    [first, second] = app.verdicts().to_pylist()
    assert {first["amount_minor"], second["amount_minor"]} == {1900, 2900}
    assert first["category"] == "do_not_honor"
    report = app.report()
    assert app.summary()["failed_count"] == 2
    assert app.summary()["by_currency"]["usd"]["failed_amount_minor"] == 4800
    assert "<html" in report.read_text("utf-8")
