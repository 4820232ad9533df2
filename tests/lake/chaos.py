"""A bad day between Stripe and us: what stands between a reader and the sandbox, and spoils what passes.

Events are lost, late, doubled, and out of order within their second; pages are cut short, garbled, refused by the
dozen; while lists are read the world goes on; and half-way Stripe begins to speak a newer API version. `calm` ends the
trouble, but what was lost stays lost and the newer version stays.
"""

import json
import random
import threading
import zlib
from collections import Counter
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tinko_pipelines.sandbox.client import SandboxClient

NEXT_VERSION = "2027-01-20.next"
STORM_LENGTH = 12
REASONS = ("global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency", "resource-specific")


class Chaos:
    """Serves at `base` what the sandbox says, spoilt; `met` counts by kind what it did."""

    def __init__(self, sandbox: str, seed: int, *, version_changes_after: int, life_every: int) -> None:
        self._to, self._rng = urlsplit(sandbox), random.Random(seed)
        self._client = SandboxClient(sandbox)
        self._version_changes_after, self._life_every = version_changes_after, life_every
        self._lock = threading.Lock()
        self._storm = 0
        self.is_calm = False
        self.met: Counter[str] = Counter()
        chaos = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, body = chaos.answer(self.path, dict(self.headers.items()))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calm(self) -> None:
        self.is_calm = True

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            self.met["requests"] += 1
            trouble = "" if self.is_calm else self._trouble()
        if trouble == "storm":
            refusal = {"Stripe-Rate-Limited-Reason": self._rng.choice(REASONS), "Retry-After": "0.01"}
            return 429, refusal, b'{"error": {"code": "rate_limit"}}'
        if trouble == "garbled":
            return 200, {}, b"<html>please wait</html>"
        status, document = self._ask(path, headers)
        if status == 200 and urlsplit(path).path == "/v1/events":
            document["data"] = self._events(document["data"])
        newer = self.is_calm or self.met["requests"] > self._version_changes_after
        if status == 200 and newer:
            self._speak_newer(document)
        body = json.dumps(document, indent=2).encode()
        if trouble == "truncated":
            body = body[: len(body) * 2 // 3]
        return status, {"Stripe-Version": NEXT_VERSION} if newer else {}, body

    def _trouble(self) -> str:
        """What befalls this request; now and then the world goes on first."""
        if self.met["requests"] % self._life_every == 0:
            self._client.advance_to(self._client.now() + timedelta(minutes=50))
            self.met["life"] += 1
        if self._storm == 0 and self._rng.random() < 0.02:
            self._storm = self._rng.randint(1, STORM_LENGTH)
        if self._storm:
            self._storm -= 1
            self.met["storm"] += 1
            return "storm"
        kind = self._rng.choices(("", "garbled", "truncated"), (90, 5, 5))[0]
        self.met[kind or "passed"] += 1
        return kind

    def _ask(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        connection = HTTPConnection(str(self._to.hostname), self._to.port, timeout=60)
        connection.request("GET", path, headers={"Authorization": headers["Authorization"]})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, json.loads(said)

    def _events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Some are lost for ever, some not shown before it is calm, some shown twice; ties in any order."""
        shown = []
        for event in events:
            fate = _fate(event["id"])
            if is_lost(event["id"]) or (fate < 30 and not self.is_calm):
                self.met["lost" if is_lost(event["id"]) else "late"] += 1
                continue
            shown.append(event)
            if 30 <= fate < 45 and not self.is_calm:
                self.met["doubled"] += 1
                shown.append(event)
        if not shown:
            return events[-1:]  # A page that is not the last has something to go on from.
        last = shown[-1]
        shown.sort(key=lambda event: (-event["created"], zlib.crc32(event["id"].encode())))
        # The cursor must stay where the list is cut, or a reader would be led astray by us and not by Stripe.
        return [*(event for event in shown if event["id"] != last["id"]), last]

    def _speak_newer(self, document: dict[str, Any]) -> None:
        for item in document.get("data", [document]):
            if item.get("object") == "charge":
                item["settlement_promise"] = {"by": item["created"] + 86_400}
            if item.get("object") == "event":
                item["api_version"] = NEXT_VERSION


def is_lost(event_id: str) -> bool:
    """Whether an event is never shown; only where a page would be empty without it, it may be."""
    return event_id.startswith("evt_") and _fate(event_id) < 15


def _fate(event_id: str) -> int:
    return zlib.crc32(event_id.encode()) % 100
