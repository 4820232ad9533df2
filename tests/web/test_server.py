"""What every request passes: names, limits, headers, ids, logs; and starting, health and stopping."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import httpx
import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.web.serving import HOOK, KEY, SECRET, Served, event, serving, signed
from tests.web.test_webhooks import rows
from tinko_pipelines.app import App
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.store import HEAD_REVISION, Ledger
from tinko_pipelines.settings import load_settings
from tinko_pipelines.web import gate, health, server

WANTED = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def test_every_answer_says_the_same_of_itself_and_nothing_of_us(served: Served) -> None:
    for method, path, status in (
        ("GET", "/healthz", 200), ("GET", "/nothing", 404), ("POST", "/healthz", 404), ("GET", HOOK, 404), ("POST", HOOK, 404),
        ("GET", f"{HOOK}/", 404), ("GET", "/healthz/", 404), ("OPTIONS", "/healthz", 404), ("DELETE", HOOK, 404),
        ("GET", "//example.com/%2e%2e", 404), ("POST", "/webhooks/stripe/" + "x" * 9_000, 404), ("GET", "/", 404),
    ):  # fmt: skip
        found, headers, body = served.ask(method, path)
        assert found == status, path
        assert WANTED.items() <= headers.items()
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers
        assert "location" not in headers
        assert status == 200 or body == b""


def test_only_names_of_ours_are_answered(url: str, tmp_path: Path) -> None:
    with serving(
        tmp_path / "state", TINKO_LEDGER_URL=url, TINKO_WEB_NAMES="Pay.example.com, b.example.com"
    ) as served:
        given = {"127.0.0.1": 200, "localhost:8787": 200, "[::1]:80": 200, "pay.example.com": 200, "PAY.EXAMPLE.COM:443": 200,
                 "b.example.com": 200, "evil.com": 404, "": 404, "pay.example.com.evil.com": 404, "xpay.example.com": 404}  # fmt: skip
        assert {name: served.ask("GET", "/healthz", headers={"Host": name})[0] for name in given} == given
        body = json.dumps(event("evt_1")).encode()
        assert served.ask("POST", HOOK, body, {**signed(body), "Host": "evil.com"})[0] == 404
    assert rows(url) == []


def test_a_request_keeps_a_sane_id_and_gets_one_else(served: Served) -> None:
    assert (
        served.ask("GET", "/healthz", headers={"X-Request-ID": "a-sane.id_1"})[1]["x-request-id"]
        == "a-sane.id_1"
    )
    for given in ("", "abc", "x" * 65, "a b c d", 'quo"ted', "\xe9\xe9\xe9\xe9", "a@example.com"):
        made = served.ask("GET", "/healthz", headers={"X-Request-ID": given})[1]["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
    served.stop()
    ids = [line["id"] for line in served.lines if line["event"] == "request"]
    assert ids[0] == "a-sane.id_1"
    assert len(set(ids)) == len(ids) == 8


def test_the_log_is_json_and_holds_no_path_query_or_header(served: Served) -> None:
    token = "T0ken" * 8
    served.ask(
        "GET", f"/r/{token}?q={token}", headers={"Authorization": f"Bearer {token}", "User-Agent": token}
    )
    served.ask("POST", f"/webhooks/stripe/{token}?q={token}", token.encode(), {"Stripe-Signature": token})
    served.ask(token, "/healthz")
    with raw(served) as one:
        one.sendall(f"{token} nonsense\r\n{token}\r\n\r\n".encode())
        assert b" 400 " in one.recv(1_000)
    assert served.stop() == 0
    assert token not in served.said
    told = [(line.get("route"), line.get("status"), line.get("method")) for line in served.lines]
    route = "/webhooks/stripe/{account}"
    assert told[1:4] == [("/r/{token}", 404, "GET"), (route, 404, "POST"), ("/healthz", 404, "other")]
    assert {line["event"] for line in served.lines} == {
        "listening",
        "request",
        "Invalid HTTP request received.",
        "stopped",
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*", line["at"]) for line in served.lines)


def test_what_a_page_says_of_itself_stays_and_what_fails_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pages of every kind put in place of ours."""

    def page(_request: Request) -> Response:
        return PlainTextResponse("x", headers={"Content-Security-Policy": "default-src 'self'"})

    def broken(_request: Request) -> Response:
        raise RuntimeError("somebody@example.com")

    async def late(_request: Request) -> Response:
        await asyncio.sleep(60)
        return Response()

    def out_of_time(_request: Request) -> Response:
        raise TimeoutError("of something that was asked")

    async def echo(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def pieces(length: int) -> AsyncIterator[bytes]:
        for start in range(0, length, 100_000):
            yield b"x" * min(100_000, length - start)

    app = App(load_settings(state=tmp_path, stripe_secret_key=KEY))
    made = server.create_app(app)
    made.router.routes += [Route(f"/{each.__name__}", each) for each in (page, broken, late, out_of_time)]
    made.router.routes.append(Route("/echo", echo, methods=["POST"]))

    async def ask_each() -> None:
        to_it = httpx.ASGITransport(made)
        async with httpx.AsyncClient(transport=to_it, base_url="http://localhost") as client:
            assert (await client.get("/page")).headers["content-security-policy"] == "default-src 'self'"
            failed = await client.get("/broken")
            assert (failed.status_code, failed.text) == (500, "")
            assert WANTED.items() <= failed.headers.items()
            assert (await client.get("/out_of_time")).status_code == 500
            monkeypatch.setattr(gate, "REQUEST_SECONDS", 0.2)
            assert (await client.get("/late")).status_code == 503
            monkeypatch.undo()
            for length, wanted in ((gate.BODY_BYTES_MAX, 200), (gate.BODY_BYTES_MAX + 1, 404)):
                assert (await client.post("/echo", content=b"x" * length)).status_code == wanted
                assert (await client.post("/echo", content=pieces(length))).status_code == wanted

    asyncio.run(ask_each())
    said = [record.getMessage() for record in caplog.records if record.name == "tinko.web"]
    assert "failed" in said
    app.ledger.close()


def test_the_server_says_whether_it_is_ready(served: Served, url: str) -> None:
    def ready() -> tuple[int, dict[str, object]]:
        status, _, said = served.ask("GET", "/readyz")
        return status, json.loads(said)

    assert ready() == (200, {"ready": True, "ledger": "ok", "schema": "ok", "clock": "ok"})
    ledger = Ledger.open(url)
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    status, said = ready()
    assert (status, said["ready"], said["ledger"]) == (503, False, "ok")
    assert said["schema"] == f"0001, and this version knows {HEAD_REVISION}"
    with ledger.write() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{HEAD_REVISION}'"))
        # As if the database were another one.
        connection.execute(text("ALTER TABLE control RENAME TO elsewhere"))
    assert ready()[0] == 200
    assert "tinko_ledger_up 0.0" in served.ask("GET", "/metrics")[2].decode()
    assert served.ask("GET", "/healthz")[0] == 200
    ledger.close()


def test_clocks_that_differ_are_told(tmp_path: Path) -> None:
    app = App(load_settings(state=tmp_path, stripe_secret_key=KEY))
    assert health._clock(app, health.SKEW_SECONDS_MAX) == "ok"
    assert health._clock(app, -90.0) == "the database's is -90.0 seconds from ours"


def test_metrics_tell_what_waits_and_what_is_paused(served: Served, url: str) -> None:
    served.post(event("evt_1"))
    ledger = Ledger.open(url)
    pause(ledger, "default", "somebody@example.com asked", "ada", ledger_now(ledger))
    ledger.close()
    text = served.ask("GET", "/metrics")[2].decode()
    for line in (
        "tinko_ledger_up 1.0", "tinko_inbox_unlanded 1.0", "tinko_inbox_unmarked 1.0", "tinko_due_retries 0.0", "tinko_held 0.0",
        'tinko_paused{scope="default",what="charging"} 1.0', 'tinko_paused{scope="default",what="mailing"} 1.0',
        'tinko_web_requests_total{method="POST",route="/webhooks/stripe/{account}",status="200"} 1.0',
    ):  # fmt: skip
        assert f"\n{line}\n" in text
    age = re.search(r"^tinko_inbox_oldest_seconds ([0-9.e-]+)$", text, re.MULTILINE)
    assert age is not None
    assert 0 <= float(age.group(1)) < 60
    assert "example.com" not in text
    assert "_created" not in text


def ledger_now(ledger: Ledger):  # type: ignore[no-untyped-def]
    with ledger.glance() as connection:
        return ledger.database_now(connection)


@contextmanager
def raw(served: Served) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as made:
        yield made


def closed_after(one: socket.socket, began: float, trickle: bytes = b"") -> float:
    """How long the server bore with it, while it sends a byte now and then."""
    one.settimeout(0.5)
    while time.monotonic() - began < 30:
        try:
            if trickle:
                one.sendall(trickle)
            if not one.recv(10_000):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.slow
def test_who_is_slow_is_left_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    head = f"POST {HOOK} HTTP/1.1\r\nHost: localhost\r\n"
    cases = {
        "silent": (b"", b""),
        "slow head": (head.encode(), b"X"),
        "slow body": (f"{head}Content-Length: 400000\r\n\r\n{{".encode(), b" "),
        "slow second": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET", b"X"),
        "body of an answered": (f"{head.replace(HOOK, '/x')}Content-Length: 400000\r\n\r\n{{".encode(), b" "),
    }
    with serving(tmp_path / "state") as served, ExitStack() as stack:
        began, seconds = time.monotonic(), dict[str, float]()
        threads = []
        for name, (first, trickle) in cases.items():
            one = stack.enter_context(raw(served))
            one.sendall(first)

            def wait(name: str = name, one: socket.socket = one, trickle: bytes = trickle) -> None:
                seconds[name] = closed_after(one, began, trickle)

            threads.append(Thread(target=wait))
            threads[-1].start()
        assert served.post(event("evt_1")) == 200
        for thread in threads:
            thread.join()
        longest = max(gate.BODY_SECONDS, server.HEAD_SECONDS) + 3
        assert seconds.keys() == cases.keys()
        assert all(one < longest for one in seconds.values()), seconds
        assert seconds["body of an answered"] < 3, "nothing more is awaited"
        assert "slow" in {line.get("outcome") for line in served.lines}


def test_too_many_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as served:
        head = f"POST {HOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n".encode()
        with ExitStack() as stack:
            for _ in range(gate.AT_ONCE):
                stack.enter_context(raw(served)).sendall(head)
            deadline = time.monotonic() + 5
            while served.ask("GET", "/healthz")[0] != 503 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert served.ask("GET", "/healthz")[0] == 503
        deadline = time.monotonic() + 5
        while served.ask("GET", "/healthz")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert served.post(event("evt_1")) == 200
        assert {"busy", "gone"} <= {line.get("outcome") for line in served.lines}


def test_headers_and_addresses_have_an_end(served: Served, url: str) -> None:
    body = json.dumps(event("evt_1")).encode()
    for length, wanted in (
        (gate.HEAD_BYTES_MAX // 2, {200}),
        (gate.HEAD_BYTES_MAX, {404, 400, 0}),
        (400_000, {404, 400, 0}),
    ):
        long = {**signed(body), "X-Long": "x" * length}
        assert served.ask("POST", HOOK, body, long)[0] in wanted
        assert served.ask("GET", f"/healthz?{'x' * length}")[0] in wanted
    assert [row["event_id"] for row in rows(url)] == ["evt_1"]


def test_it_stops_when_told_and_answers_first_what_it_was_asked(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as served:
        body = json.dumps(event("evt_1")).encode()
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
        head = f"POST {HOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        with raw(served) as one:
            one.sendall(head.encode() + body[:10])
            time.sleep(0.3)
            assert served.process is not None
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            one.sendall(body[10:])
            assert one.recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert served.process.wait(20) == 0
    assert served.lines[-1]["event"] == "stopped"
    assert [row["event_id"] for row in rows(f"sqlite:///{tmp_path}/state/ledger.db")] == ["evt_1"]


@pytest.mark.parametrize(
    ("environment", "code", "sentence"),
    [
        ({"STRIPE_SECRET_KEY": ""}, 2, "no Stripe key"),
        ({"TINKO_WEBHOOK_SECRET": "sk_" + "test_" + "q" * 12}, 2, "TINKO_WEBHOOK_SECRET: what is given for default is no signing"),
        ({"TINKO_LEDGER_URL": "postgresql://nobody:pw1234@127.0.0.1:1/x"}, 4, "cannot be used"),
        ({"TINKO_WEB_HOST": "192.0.2.1"}, 2, "cannot listen on 192.0.2.1 port 0"),
        ({"STRIPE_SECRET_KEY": "sk_" + "live_" + "q" * 12}, 2, "TINKO_ALLOW_LIVE=1"),
    ],
)  # fmt: skip
def test_what_keeps_it_from_starting_is_one_sentence(
    environment: dict[str, str], code: int, sentence: str, tmp_path: Path
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TINKO_", "STRIPE_"))}
    given = {"TINKO_STATE": str(tmp_path), "STRIPE_SECRET_KEY": KEY, "TINKO_WEBHOOK_SECRET": SECRET}
    done = subprocess.run(
        [sys.executable, "-c", "from tinko_pipelines.cli import main; main()", "serve", "--port", "0"],
        capture_output=True, text=True, check=False, timeout=60, env=clean | given | environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any(secret in done.stderr for secret in ("qqqq", "pw1234", SECRET, KEY))


def test_it_serves_without_a_secret_and_then_no_webhook(tmp_path: Path) -> None:
    with serving(tmp_path / "state", TINKO_WEBHOOK_SECRET="") as served:
        assert served.post(event("evt_1")) == 404
        assert served.ask("GET", "/healthz")[0] == 200
        assert served.lines[0]["webhooks_for"] == []
        assert "no_secret" in {line.get("outcome") for line in served.lines}
