"""`tinko serve` in a process of its own, asked over real HTTP."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tinko_pipelines.sandbox.http.webhooks import signature

SECRET = "whsec_" + "a1" * 16
OTHER_SECRET = "whsec_" + "b2" * 16
KEY = "sk_test_" + "x" * 24
HOOK = "/webhooks/stripe/default"
START_SECONDS = 60.0


class Served:
    """Started with the settings given as environment; its log is a file below the state folder."""

    def __init__(self, state: Path, **environment: str) -> None:
        self.state, self.port = state, free_port()
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("TINKO_", "STRIPE_"))
        }
        self.environment = {**clean, "TINKO_STATE": str(state), "TINKO_WEBHOOK_SECRET": SECRET, **environment}
        if "TINKO_STRIPE_API_BASE" not in environment:
            self.environment.setdefault("STRIPE_SECRET_KEY", KEY)
        self.path = state.parent / f"{state.name}-serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Served":
        """On the same port each time, so that whoever it served finds it again."""
        self.environment |= environment
        began = self.path.stat().st_size if self.path.exists() else 0
        command = [sys.executable, "-c", "from tinko_pipelines.cli import main; main()"]
        with self.path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "serve", "--port", str(self.port)], stdout=log, stderr=log, env=self.environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with self.path.open("rb") as log:
                log.seek(began)
                first = log.readline()
            if first.endswith(b"\n"):
                self.port = json.loads(first)["port"]
                return self
            time.sleep(0.02)
        raise AssertionError(f"it did not start: {self.path.read_text()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """By SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def said(self) -> str:
        return self.path.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines()]

    def connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; status 0 where the connection broke."""
        with closing(self.connection()) as connection:
            return asked(connection, method, path, body, headers)

    def post(self, event: Mapping[str, Any], secret: str = SECRET, path: str = HOOK) -> int:
        """What is said to an event signed just now."""
        body = json.dumps(event).encode()
        return self.ask("POST", path, body, signed(body, secret))[0]


def asked(
    connection: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
) -> tuple[int, dict[str, str], bytes]:
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        found = answer.read()
    except (OSError, HTTPException):
        connection.close()
        return 0, {}, b""
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, found


def signed(body: bytes, secret: str = SECRET, age_seconds: int = 0) -> dict[str, str]:
    return {
        "Stripe-Signature": signature(secret, body, int(time.time()) - age_seconds),
        "Content-Type": "application/json",
    }


def event(name: str, **changes: Any) -> dict[str, Any]:
    """One of nothing that the lake keeps."""
    about = {"object": "balance", "available": [], "note": "somebody@example.com"}
    return {
        "id": name, "object": "event", "type": "balance.available", "created": 1_790_000_000, "livemode": False,
        "api_version": "2026-10-28.endive", "data": {"object": about}, **changes,
    }  # fmt: skip


@contextmanager
def serving(state: Path, **environment: str) -> Iterator[Served]:
    served = Served(state, **environment).start()
    try:
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.stop()


def rng(number: int = 0) -> random.Random:
    return random.Random(f"20261126:{number}")


def served_by(
    served: Served, events: Sequence[Mapping[str, Any]], workers: int, path: str = HOOK
) -> dict[str, int]:
    """Hand events in by so many connections at once, each until it breaks; the last answer to each event by its id."""
    answers: dict[str, int] = {}
    left = deque(events)

    def work() -> None:
        with closing(served.connection()) as connection:
            while True:
                try:
                    one = left.popleft()
                except IndexError:
                    return
                body = json.dumps(one).encode()
                answers[one["id"]] = asked(connection, "POST", path, body, signed(body))[0]
                if not answers[one["id"]]:
                    return

    with ThreadPoolExecutor(workers) as pool:
        for each in [pool.submit(work) for _ in range(workers)]:
            each.result()
    return answers
