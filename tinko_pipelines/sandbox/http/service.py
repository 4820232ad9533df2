"""One request of the Stripe API from its bytes to the bytes of the answer, with idempotency in between.

Synchronous: whatever this does is one step, and one transaction of the book.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from tinko_pipelines.sandbox import handicaps
from tinko_pipelines.sandbox.book import API_VERSION
from tinko_pipelines.sandbox.errors import StripeRefusalError
from tinko_pipelines.sandbox.http import billing_api, doors_api, forms, keys, payments_api, people_api, reads
from tinko_pipelines.sandbox.http.endpoints import Call, Endpoint, Routes
from tinko_pipelines.sandbox.http.expand import expand
from tinko_pipelines.sandbox.http.params import read
from tinko_pipelines.sandbox.ids import object_id
from tinko_pipelines.sandbox.life import Sandbox
from tinko_pipelines.sandbox.store import Object, SavedAnswer

KEY_LIVES_SECONDS = 24 * 3_600
LONGEST_KEY = 255
JSON_TYPE = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Request:
    """What came in; header names in lower case."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    @property
    def key(self) -> str | None:
        """The idempotency key, where it means anything."""
        return self.headers.get("idempotency-key") if self.method == "POST" else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Service:
    """The Stripe side of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.under_way: set[str] = set()
        """Idempotency keys of requests that have begun and have no answer yet."""
        self._reads = 0
        self.routes = Routes(all_endpoints())

    def answer(self, request: Request, *, spoil: StripeRefusalError | None = None) -> Reply:
        """Do what is asked. With `spoil`, it is done and the answer is that refusal."""
        request_id = self._request_id(request)
        try:
            reply = self._answer(request, request_id, spoil)
        except StripeRefusalError as error:
            reply = refusal(error, request_id)
        headers = {**JSON_TYPE, "request-id": request_id, "stripe-version": API_VERSION, **reply.headers}
        if request.key:
            headers["idempotency-key"] = request.key
        return Reply(reply.status, reply.body, headers)

    def _answer(self, request: Request, request_id: str, spoil: StripeRefusalError | None) -> Reply:
        keys.check(request.method, request.headers)
        found = self.routes.find(request.method, request.path.removeprefix("/v1/").rstrip("/"))
        if found is None:
            raise StripeRefusalError(
                404,
                f"Unrecognized request URL ({request.method}: {request.path}). Please see "
                "https://stripe.com/docs or we can help at https://support.stripe.com/.",
                saved=False,
            )
        given = forms.parse(request.query if request.method == "GET" else request.body)
        if request.method == "GET":
            return Reply(200, orjson.dumps(self._run(*found, given, request.path)))
        if request.method == "DELETE" and request.query:
            given = {**forms.parse(request.query), **given}
        with self.sandbox.book.asked_by(request_id, request.key):
            if request.key and self.keys_count:
                return self._once(request, request_id, found, given, spoil)
            return self._write(request, request_id, found, given, spoil)

    @property
    def keys_count(self) -> bool:
        """Whether idempotency keys mean anything."""
        return handicaps.mode(self.sandbox.book) != "no_idempotency"

    def _run(self, endpoint: Endpoint, ids: tuple[str, ...], given: dict[str, Any], path: str) -> Object:
        params = read(endpoint.params, given)
        call = Call(self.sandbox.book, self.sandbox.actions, ids, params, path)
        answer = endpoint.handler(call)
        wanted = params.get("expand")
        return expand(self.sandbox.book, answer, wanted) if wanted else answer

    def _write(
        self,
        request: Request,
        request_id: str,
        found: tuple[Endpoint, tuple[str, ...]],
        given: dict[str, Any],
        spoil: StripeRefusalError | None,
        keep: SavedAnswer | None = None,
    ) -> Reply:
        """Run, and commit what was done together with the answer; or undo what a refusal left half done."""
        store = self.sandbox.book.store
        saved = True
        try:
            reply = Reply(200, orjson.dumps(self._run(*found, given, request.path)))
        except StripeRefusalError as error:
            saved = error.saved
            reply = refusal(error, request_id)
        except Exception:
            store.reload()
            raise
        if not saved:
            if store.changed:
                store.reload()
            return reply
        if spoil is not None:
            reply = refusal(spoil, request_id)
        if keep is not None:
            store.save_answer(SavedAnswer(keep.key, keep.at, keep.request, reply.status, reply.body))
        store.commit()
        return reply

    def _once(
        self,
        request: Request,
        request_id: str,
        found: tuple[Endpoint, tuple[str, ...]],
        given: dict[str, Any],
        spoil: StripeRefusalError | None,
    ) -> Reply:
        """Run under an idempotency key, or give again what was answered under it."""
        key, book = str(request.key), self.sandbox.book
        if len(key) > LONGEST_KEY:
            message = f"Idempotency keys may have at most {LONGEST_KEY} characters; this one has {len(key)}."
            raise StripeRefusalError(400, message, saved=False)
        if key in self.under_way:
            raise in_use(key)
        book.store.prune_answers(book.now - KEY_LIVES_SECONDS)
        asked = _fingerprint(request.path, given)
        known = book.store.answer(key)
        if known is None:
            keep = SavedAnswer(key, book.now, f"{asked} {request_id}", 0, b"")
            return self._write(request, request_id, found, given, spoil, keep)
        before, _, original = known.request.partition(" ")
        if before != asked:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise StripeRefusalError(400, message, kind="idempotency_error", saved=False)
        return Reply(known.status, known.body, {"idempotent-replayed": "true", "original-request": original})

    def _request_id(self, request: Request) -> str:
        """Ids of writes under a key repeat with seed, key and time; the others only look like ids."""
        seed, now = self.sandbox.book.seed, self.sandbox.book.now
        known = self.sandbox.book.store.answer(request.key) if request.key else None
        if request.key and known is None:
            return object_id(seed, "req", request.key, now)
        self._reads += 1
        return object_id(seed, "req", "read", self._reads)


def in_use(key: str) -> StripeRefusalError:
    """The 409 to a second request under a key whose first is not answered yet."""
    message = (
        f"There is currently another in-progress request using this Idempotent Key '{key}' (that probably means you "
        "submitted twice, and the other request is still going through). Please try again later."
    )
    headers = {"stripe-should-retry": "true"}
    return StripeRefusalError(409, message, code="idempotency_key_in_use", saved=False, headers=headers)


def refusal(error: StripeRefusalError, request_id: str) -> Reply:
    """An error as an answer."""
    log = f"https://dashboard.stripe.com/test/logs/{request_id}"
    body = {"error": {**error.body["error"], "request_log_url": log}}
    return Reply(error.status, orjson.dumps(body), dict(error.headers))


def all_endpoints() -> list[Endpoint]:
    """Everything the sandbox serves below `/v1`."""
    rooms = (reads, payments_api, people_api, billing_api, doors_api)
    return [endpoint for room in rooms for endpoint in room.endpoints()]


def _fingerprint(path: str, given: Mapping[str, Any]) -> str:
    text = path.encode() + b"\n" + orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()
