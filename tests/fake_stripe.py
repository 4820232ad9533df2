"""A small Stripe for engine tests: a book of intents, as a Gateway in memory or over real HTTP."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from tinko_pipelines.gateway.records import Answer

NOW = datetime(2026, 9, 10, 12, tzinfo=UTC)


class FakeStripe:
    """Intents succeed when `passes` says so. `many` lets one succeed more than once."""

    account_id = "default"
    livemode = False
    api_version = "2026-10-28.endive"

    def __init__(self) -> None:
        self.now = NOW
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: list[dict[str, Any]] = []
        self.passes: dict[str, bool] = {}
        self.many = False
        self.saved: dict[str, tuple[int, dict[str, Any]]] = {}
        self.lose_answers = 0
        self.posts: list[str] = []
        self.lock = threading.Lock()

    def add(self, name: str, passes: bool, amount: int = 1000) -> None:
        self.intents[name] = {
            "object": "payment_intent",
            "id": name,
            "status": "requires_payment_method",
            "amount": amount,
            "customer": "cus_1",
        }
        self.passes[name] = passes

    def succeeded(self, name: str) -> int:
        return sum(c["payment_intent"] == name and c["status"] == "succeeded" for c in self.charges)

    def handle_get(self, path: str, params: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        parts = path.strip("/").split("/")
        with self.lock:
            if parts[1] == "charges":
                wanted = params.get("payment_intent")
                chosen = [c for c in self.charges if wanted in (None, c["payment_intent"])]
                return 200, {"object": "list", "data": chosen}
            if parts[1] == "payment_methods":
                return 200, {"object": "payment_method", "id": parts[2], "type": "card", "customer": "cus_1"}
            if parts[2] in self.intents:
                intent = self.intents[parts[2]]
                return 200, {**intent, "customer": {"object": "customer", "id": intent["customer"]}}
        return 404, {"error": {"type": "invalid_request_error", "message": "no such object"}}

    def handle_post(self, path: str, key: str) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.posts.append(path)
            if key not in self.saved:
                self.saved[key] = self._confirm(path) if path.endswith("/confirm") else (200, {"object": "x"})
            return self.saved[key]

    def _confirm(self, path: str) -> tuple[int, dict[str, Any]]:
        intent = self.intents[path.split("/")[3]]
        if intent["status"] == "succeeded" and not self.many:
            return 400, {
                "error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}
            }
        passed = self.passes[intent["id"]]
        charge = {
            "id": f"ch_{len(self.charges) + 1}",
            "payment_intent": intent["id"],
            "status": "succeeded" if passed else "failed",
            "created": int(self.now.timestamp()),
            "outcome": {"reason": None if passed else "insufficient_funds"},
        }
        self.charges.append(charge)
        if passed:
            intent["status"] = "succeeded"
            return 200, {**intent, "latest_charge": charge["id"]}
        error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
        return 402, {"error": {**error, "charge": charge["id"], "message": "no funds"}}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return _answer(*self.handle_get(path, params or {}))

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        result = self.handle_post(path, idempotency_key)
        if path.endswith("/confirm") and self.lose_answers > 0:
            self.lose_answers -= 1
            return Answer(None, transport_error="reset")
        return _answer(*result)


def _answer(status: int, body: dict[str, Any]) -> Answer:
    error = body.get("error") or {}
    return Answer(
        status,
        body,
        error_type=error.get("type"),
        error_code=error.get("code"),
        decline_code=error.get("decline_code"),
        message=error.get("message"),
    )


@contextmanager
def over_http(fake: FakeStripe) -> Iterator[str]:
    """The same book behind a real socket; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, status: int, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.send_header("request-id", "req_1")
            self.end_headers()
            self.wfile.write(raw)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(*fake.handle_get(parts.path, params))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self._send(*fake.handle_post(self.path, self.headers["Idempotency-Key"]))

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def failed_row(name: str, **changes: Any) -> dict[str, Any]:
    """One failed payment with a verdict that allows a retry."""
    failed_at = NOW - timedelta(days=2)
    row = {
        "account_id": "default", "livemode": False, "debt_kind": "payment_intent", "debt_id": name,
        "invoice_id": None, "payment_intent_id": name, "first_charge_id": f"ch_first_{name}",
        "first_failed_at": failed_at, "last_failed_at": failed_at, "customer_id": "cus_1",
        "subscription_id": None, "amount_minor": 1000, "currency": "usd", "status": "open",
        "payment_method_id": f"pm_{name}", "payment_method_type": "card", "card_brand": "visa",
        "card_country": "US", "card_fingerprint": f"fp_{name}", "card_changed_since_failure": False,
        "code": "insufficient_funds", "next_payment_attempt_at": None, "collection_method": None,
        "off_session_consent": True, "customer_deleted": False, "subscription_status": None,
        "paid_elsewhere_by": None, "paid_elsewhere_charge_id": None, "disputed": False, "preferred_locale": "en",
        "category": "insufficient_funds", "move": "retry", "reason": "no funds", "rule": "r1",
        "source": "rule", "confidence": 1.0, "retry_same_card": True, "wait_hours": None,
    }  # fmt: skip
    return {**row, **changes}


def failed_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))
