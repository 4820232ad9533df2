"""The sandbox without a socket: its service asked directly, by a gateway that can lose answers on order."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.gateway.wire import Reply
from tinko_pipelines.sandbox.actions import Actions, intents_of
from tinko_pipelines.sandbox.book import API_VERSION, Book
from tinko_pipelines.sandbox.http.faults import rate_limited, server_error
from tinko_pipelines.sandbox.http.service import Request, Service, in_use
from tinko_pipelines.sandbox.life import Sandbox
from tinko_pipelines.sandbox.ports import EPOCH, CardTruth, Decision
from tinko_pipelines.sandbox.store import Object, Store
from tinko_pipelines.sandbox.world.answers import APPROVED
from tinko_pipelines.settings import SANDBOX_KEY

FAULTS = (
    "lost_before",
    "lost_after",
    "error_before",
    "error_saved",
    "conflict",
    "rate_limited",
    "unreadable",
)
"""What can happen to a request; `lost_after`, `error_saved` and `unreadable` after it was done."""
_HEADERS = {"authorization": f"Bearer {SANDBOX_KEY}", "stripe-version": API_VERSION}


class Nobody:
    """A world in which nobody does anything of his own accord, and every card without a script is good."""

    def begin(self, stripe: object) -> None:
        pass

    def decide(
        self, card: CardTruth, at: int, amount_minor: int, currency: str, off_session: bool
    ) -> Decision:
        return APPROVED

    def handle(self, stripe: object, kind: str, payload: Mapping[str, object]) -> None:
        pass

    def mail_delivered(self, stripe: object, customer: str, debt: str, message_id: str) -> None:
        pass


class Stripe:
    """One account, its book, and what is on its way to go wrong."""

    def __init__(self, folder: Path) -> None:
        self.book = Book(Store(folder / "book.sqlite"), Nobody(), 5)
        self.book.now = EPOCH
        self.actions = Actions(self.book)
        self.service = Service(Sandbox(self.book, self.actions))
        self.faults: deque[str | None] = deque()
        """What happens to the next requests; and in `call_faults`, to those alone that ask for a charge."""
        self.call_faults: deque[str | None] = deque()
        self.lock = threading.RLock()

    def close(self) -> None:
        self.book.store.close()

    def all(self, kind: str) -> list[Object]:
        return list(self.book.store.objects.get(kind, {}).values())

    def charges_of(self, debt: str) -> list[Object]:
        made = self.book.store
        return [
            charge
            for intent in intents_of(self.book, debt)
            for charge in made.related("charges", "payment_intent", intent)
        ]


class InProcess:
    """The Gateway of one process. `passing` is called around every request and may end the process."""

    account_id = "default"
    livemode = False
    api_version = API_VERSION

    def __init__(
        self,
        stripe: Stripe,
        passing: Callable[[str], None] = lambda _name: None,
        called: Callable[[str, str], Callable[[], None]] | None = None,
    ) -> None:
        self.stripe, self._passing, self._called = stripe, passing, called

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._ask("GET", path, params or {}, None)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        return self._ask("POST", path, params, idempotency_key)

    def _ask(self, method: str, path: str, params: Mapping[str, Any], key: str | None) -> Answer:
        self._passing("request")
        text = urlencode(list(_flat(params)))
        headers = {**_HEADERS, **({"idempotency-key": key} if key else {})}
        request = Request(method, path, text if key is None else "", text if key else "", headers)
        with self.stripe.lock:
            charging = key is not None and path.endswith(("/confirm", "/pay"))
            queue = self.stripe.call_faults if charging else self.stripe.faults
            fault = queue.popleft() if queue else None
            answer = self._struck(request, fault)
        self._passing("answer")
        return answer

    def _struck(self, request: Request, fault: str | None) -> Answer:
        if fault == "lost_before":
            return Answer(None, transport_error="connection: ReadTimeout")
        refused = {
            "error_before": server_error(saved=False),
            "conflict": in_use("a key"),
            "rate_limited": rate_limited("global-rate"),
        }
        if fault in refused:
            return _answer(refused[fault].status, refused[fault].body, {})
        charging = request.key is not None and request.path.endswith(("/confirm", "/pay"))
        after = self._called(request.path, str(request.key)) if charging and self._called else None
        saved = request.key is not None and fault == "error_saved"
        reply = self.stripe.service.answer(request, spoil=server_error(saved=True) if saved else None)
        if after is not None:
            after()
        if fault == "lost_after":
            return Answer(None, transport_error="connection: ConnectionResetError")
        if fault == "unreadable":
            return Answer(reply.status, None)
        return _answer(reply.status, orjson.loads(reply.body), reply.headers)


class InProcessReader(BulkReader):
    """Whole pages of the same account, as the lake and the reconciler read them."""

    def __init__(self, stripe: Stripe) -> None:
        super().__init__(SANDBOX_KEY, "http://sandbox.invalid", "default")
        self._stripe = stripe

    def _send(self, path: str) -> Reply:
        bare, _, query = path.partition("?")
        request = Request("GET", bare, query, "", _HEADERS)
        with self._stripe.lock:
            reply = self._stripe.service.answer(request)
        return Reply(reply.status, reply.body, reply.headers)


def _answer(status: int, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    detail = body.get("error") or {}
    names = ("decline_code", "advice_code", "network_advice_code", "network_decline_code", "message")
    return Answer(
        status,
        body,
        error_type=detail.get("type"),
        error_code=detail.get("code"),
        request_id=headers.get("request-id"),
        replayed=headers.get("idempotent-replayed") == "true",
        **{name: detail.get(name) for name in names},
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as Stripe's forms spell them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{number}]")
    elif value is not None:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)
